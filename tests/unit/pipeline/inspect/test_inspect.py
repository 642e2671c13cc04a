"""`aurora inspect`: every kind of thing, and nothing else."""

import io
import json
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from aurora_cli.config.settings import ExtractSettings, InspectSettings, ModelSettings, Settings
from aurora_cli.data.seen import DistinctSample
from aurora_cli.errors import DataError, UsageError
from aurora_cli.pipeline.extract.command import run as extract
from aurora_cli.pipeline.inspect import annotations
from aurora_cli.pipeline.inspect.annotations import AnnotationsReport, inspect_annotations
from aurora_cli.pipeline.inspect.command import run
from aurora_cli.pipeline.inspect.data import DataReport
from aurora_cli.pipeline.inspect.run import RunReport, RunsReport
from aurora_cli.pipeline.inspect.store_report import StoreReport
from aurora_cli.pipeline.inspect.stores import StoresReport
from aurora_cli.pipeline.merge_shards import run as merge
from aurora_cli.pipeline.tokenize.command import run as tokenize
from aurora_cli.runs.lines import append_lines
from tests.archiving import info, tar_of
from tests.chat_templates import CHAT_TEMPLATES
from tests.run_files import metrics_line
from tests.tokenizing import TINY, merge_settings, record, settings, write_records
from tests.videos import write_video


def inspected(workspace, path=None, **inspect):
    given = settings(workspace).model_copy(update={"inspect": InspectSettings(path=path, **inspect)})
    result = run(given)
    assert result.lines()
    return result


def test_a_data_folder_shows_which_media_are_missing(tmp_path):
    folder = tmp_path / "data/vision/mine"
    write_records(folder / "mine.jsonl", 4)
    (folder / "1.jpg").touch()
    report = inspected(tmp_path)
    assert isinstance(report, DataReport)
    (subset,) = report.subsets
    assert (subset.subset, subset.records, subset.media, subset.found, subset.missing) == ("vision/mine", 4, 4, 1, 3)
    assert report.exit_code == 3
    assert [path.rsplit("/", 1)[1] for path in report.missing] == ["0.jpg", "2.jpg", "3.jpg"]
    for index in range(4):
        (folder / f"{index}.jpg").touch()
    assert inspected(tmp_path, "data/vision").exit_code == 0
    assert inspected(tmp_path, "data/vision/mine").subsets[0].found == 4


def test_media_are_looked_for_where_tokenize_would_look_for_them(tmp_path):
    file = write_records(tmp_path / "data/vision/mine/mine.jsonl", 2)
    (tmp_path / "media").mkdir()
    (tmp_path / "media/1.jpg").touch()
    given = settings(tmp_path, media_root="media")
    assert inspect_annotations(file, given).missing == 1
    assert inspect_annotations(file, settings(tmp_path)).missing == 2
    report = run(given)
    assert isinstance(report, DataReport)
    assert (report.subsets[0].found, report.missing) == (1, (str(tmp_path / "media/0.jpg"),))


def test_decoding_finds_media_that_are_there_and_cannot_be_read(tmp_path):
    folder = tmp_path / "data/vision/mine"
    write_records(folder / "mine.jsonl", 4)
    with open(folder / "mine.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(record(0) | {"id": "the same again"}) + "\n")
        file.write(json.dumps(record(1, image=["frames"])) + "\nno json\n")
    (folder / "frames").mkdir()
    for name in ("0.jpg", "1.jpg", "frames/0.jpg"):
        Image.new("RGB", (64, 64)).save(folder / name)
    whole = (folder / "0.jpg").read_bytes()
    (folder / "1.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "2.jpg").write_bytes(b"no image")
    quick, report = inspected(tmp_path), inspected(tmp_path, decode=True)
    assert isinstance(report, DataReport)
    (subset,) = report.subsets
    assert (subset.records, subset.duplicates, subset.unusable) == (7, 1, {"bad_json": 1})
    assert (subset.media, subset.found, subset.missing, subset.unreadable) == (5, 4, 1, 2)
    assert [path.rsplit("/", 1)[1] for path, _ in report.unreadable] == ["1.jpg", "2.jpg"]
    assert "not a readable image" in report.unreadable[0][1]
    assert (report.exit_code, quick.exit_code, quick.subsets[0].unreadable) == (3, 3, None)
    for name in ("1.jpg", "2.jpg", "3.jpg"):
        (folder / name).write_bytes(whole)
    assert inspected(tmp_path, decode=True).exit_code == 0
    (folder / "frames/1.jpg").write_bytes(b"no image")
    assert inspected(tmp_path, decode=True).exit_code == 3


def test_images_of_several_frames_are_counted_where_only_the_first_is_read(tmp_path):
    folder = tmp_path / "data/vision/mine"
    frames = [Image.new("L", (16, 16), shade) for shade in (0, 99, 200)]
    moving, still = io.BytesIO(), io.BytesIO()
    frames[0].save(moving, "GIF", save_all=True, append_images=frames[1:], duration=100)
    frames[0].save(still, "PNG")
    folder.mkdir(parents=True)
    for name, content in (("a.gif", moving), ("b.gif", moving), ("c.png", still)):
        (folder / name).write_bytes(content.getvalue())
    talk = [{"from": "human", "value": "<image>?"}, {"from": "gpt", "value": "Yes."}]
    shown = [{"from": "human", "value": "<video>?"}, {"from": "gpt", "value": "Yes."}]
    lines = [{"image": name, "conversations": talk} for name in ("a.gif", "a.gif", "c.png", "gone.gif")]
    lines.append({"video": "b.gif", "conversations": shown})
    (folder / "mine.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    quick, report = inspected(tmp_path), inspected(tmp_path, decode=True)
    assert isinstance(report, DataReport)
    assert isinstance(quick, DataReport)
    assert (report.subsets[0].animated, quick.subsets[0].animated) == (1, None)
    assert "1 images have several frames, and only the first is read." in report.lines()


def test_shares_decode_each_medium_once_between_them(tmp_path):
    folder = tmp_path / "data/vision/mine"
    write_records(folder / "mine.jsonl", 5)
    for index in range(4):
        (folder / f"{index}.jpg").write_text("no image")
    whole = inspected(tmp_path, decode=True)
    shares = [inspected(tmp_path, decode=True, shard=f"{index}/2") for index in range(2)]
    assert [len(report.unreadable) for report in (whole, *shares)] == [4, 2, 2]
    assert sorted(pair for report in shares for pair in report.unreadable) == sorted(whole.unreadable)
    assert {report.missing for report in shares} == {whole.missing}
    assert "2 media of share 1/2 cannot be decoded:" in shares[1].lines()
    with pytest.raises(UsageError, match="shares what is decoded, and nothing is"):
        inspected(tmp_path, shard="0/2")


def test_media_inside_an_index_are_found_and_decoded(tmp_path):
    folder = tmp_path / "data/vision/mine"
    write_records(folder / "mine.jsonl", 3)
    image = io.BytesIO()
    Image.new("RGB", (64, 64)).save(image, "JPEG")
    members = [info(f"{n}.jpg", image.getvalue() if n < 2 else b"no image") for n in range(3)]
    (folder / "a.tar").write_bytes(tar_of(*members))
    extract(Settings(workspace=tmp_path, extract=ExtractSettings(layout="index")))
    assert inspected(tmp_path).subsets[0].found == 3
    assert [path.rsplit("/", 1)[1] for path, _ in inspected(tmp_path, decode=True).unreadable] == ["2.jpg"]


def test_a_file_is_explained_as_tokenize_would_take_it(tmp_path):
    lines = [record(0), record(1, image=None), record(2, image=None), {"id": "x"}]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = inspected(tmp_path, "a.jsonl")
    assert isinstance(report, AnnotationsReport)
    assert (report.read, report.kept, report.media, report.missing) == (4, 1, 1, 1)
    assert {entry.reason: entry.count for entry in report.rejected} == {"image_count": 2, "no_conversation": 1}
    assert report.rejected[0].first.startswith("line 2:")
    assert report.sample == "USER: <image>\nDescribe. ASSISTANT:>>>A red circle, number 0.<<<"


def test_a_file_of_several_schemas_says_how_each_was_recognised(tmp_path):
    messages = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    video = {"video_path": "a.mp4", "captions": [{"idx": "-1", "content": "A video."}]}
    lines = [video, {"messages": messages}, {"messages": messages}, record(0), {"text": "?"}]
    (tmp_path / "a.json").write_text(json.dumps(lines))
    report = inspected(tmp_path, "a.json")
    assert isinstance(report, AnnotationsReport)
    assert report.schemas == {"sharegpt4video": 1, "openai-messages": 2, "llava": 1}
    assert "`captions` is a field of sharegpt4video" in report.recognised_by
    assert report.kinds["video"] == 1
    assert report.sample.endswith("Describe the video in detail. ASSISTANT:>>>A video.<<<")
    assert any("schema: sharegpt4video 1, openai-messages 2, llava 1" in line for line in report.lines())


def test_a_file_in_the_current_folder_needs_no_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_records(Path("a.jsonl"), 1)
    Path("0.jpg").touch()
    assert inspected(Path(), "a.jsonl").missing == 0


def test_a_file_is_shown_in_the_tokenizers_own_template(tmp_path):
    shutil.copytree(TINY, tmp_path / "own")
    (tmp_path / "own/chat_template.jinja").write_text(CHAT_TEMPLATES["brackets"].source)
    write_records(tmp_path / "a.jsonl", 1)
    given = settings(tmp_path, template="tokenizer").model_copy(update={"model": ModelSettings(tokenizer="own")})
    report = inspect_annotations(tmp_path / "a.jsonl", given)
    assert report.sample == "<s>[INST] <image>\nDescribe. [/INST]>>> A red circle, number 0. </s><<<"
    assert report.turns == 1


@pytest.fixture
def tokenized(tmp_path):
    file = write_records(tmp_path / "data/vision/mine/mine.jsonl", 5)
    file.write_text(file.read_text() + "oops\n")
    (file.parent / "0.jpg").touch()
    tokenize(settings(tmp_path, batch_size=3))
    merge(merge_settings(tmp_path))
    return "tokenized/vision/mine"


@pytest.mark.parametrize(
    ("path", "kind", "rows", "rejected"),
    [
        ("", "tokenized", 5, {"bad_json": 1}),
        ("/merged", "merged", 5, {"bad_json": 1}),
        ("/shards/part-00000", "shard", 3, {}),
    ],
)
def test_a_store_shows_its_counts_and_a_sample(tmp_path, tokenized, path, kind, rows, rejected):
    report = inspected(tmp_path, tokenized + path)
    assert isinstance(report, StoreReport)
    assert (report.kind, report.rows, report.rejected, report.complete) == (kind, rows, rejected, True)
    assert report.media == report.frames == sum(report.histogram.values()) == rows
    assert 0 < report.target_share < 1
    (shown,) = report.samples
    assert shown.sample.text.endswith(">>>A red circle, number 0.</s><<<\n")
    assert shown.media == {"0.jpg": "folder"}


def test_rows_are_spread_over_all_shards_and_say_where_their_images_are(tmp_path, tokenized):
    with tarfile.open(tmp_path / "data/vision/mine/more.tar", "w") as tar:
        (tmp_path / "4.jpg").touch()
        tar.add(tmp_path / "4.jpg", "4.jpg")
    extract(Settings(workspace=tmp_path, extract=ExtractSettings(layout="index")))
    for path in ("", "/merged"):
        report = inspected(tmp_path, tokenized + path, samples=9)
        assert [shown.number for shown in report.samples] == [0, 1, 2, 3, 4]
        assert [shown.sample.id for shown in report.samples] == [f"r{index}" for index in range(5)]
        states = [
            *report.samples[0].media.values(),
            *report.samples[3].media.values(),
            *report.samples[4].media.values(),
        ]
        assert states == ["folder", "missing", "index"]
        assert "  4.jpg: found in an indexed archive" in report.samples[4].lines()
    assert [shown.number for shown in inspected(tmp_path, tokenized, samples=2).samples] == [0, 2]
    assert inspected(tmp_path, tokenized, samples=0).samples == ()


def test_a_folder_of_tokenized_folders_lists_them(tmp_path, tokenized):
    report = inspected(tmp_path, "tokenized")
    assert isinstance(report, StoresReport)
    assert [(store.rows, store.path) for store in report.stores] == [(5, str(tmp_path / tokenized))]
    assert "5 rows of 6 records" in report.lines()[1]
    assert inspected(tmp_path, "tokenized/vision") == replace(report, path=str(tmp_path / "tokenized/vision"))


def test_a_store_without_rows_or_tokenizer_is_still_counted(tmp_path):
    file = write_records(tmp_path / "data/vision/mine/mine.jsonl", 0)
    file.write_text("{oops\nno\n")
    tokenize(settings(tmp_path))
    report = inspected(tmp_path, "tokenized/vision/mine")
    assert (report.rows, report.read, report.lengths, report.samples) == (0, 2, {}, ())
    write_records(file, 2)
    tokenize(settings(tmp_path, force=True))
    (tmp_path / "tokenized/vision/mine/tokenizer.json").unlink()
    report = inspected(tmp_path, "tokenized/vision/mine")
    assert (report.rows, report.samples) == (2, ())
    (tmp_path / "tokenized/vision/mine/tokenizer.json").write_text("{")
    with pytest.raises(DataError, match="is no tokenizer"):
        inspected(tmp_path, "tokenized/vision/mine")


def test_an_unfinished_folder_says_so(tmp_path, tokenized):
    (tmp_path / tokenized / "tokenize.json").unlink()
    assert not inspected(tmp_path, tokenized).complete


def test_a_run_shows_how_far_it_is(tmp_path):
    folder = tmp_path / "runs/vision"
    (folder / "checkpoints/step-00000002").mkdir(parents=True)
    (folder / "checkpoints/step-00000002/checkpoint.json").write_text("{}")
    (folder / "checkpoints/latest").write_text("step-00000002")
    (folder / "config.yaml").write_text("train: {stage: vision}\n")
    append_lines(folder / "metrics.jsonl", [metrics_line(step) for step in (1, 2)])
    with open(folder / "metrics.jsonl", "a") as file:
        file.write('{"step": 3, "lo')
    report = inspected(tmp_path, "runs/vision")
    assert isinstance(report, RunReport)
    assert (report.stage, report.steps, report.samples, report.finished) == ("vision", 2, 16, False)
    assert (report.first_loss, (report.last or {})["loss"]) == (4.0, 2.0)
    assert (report.checkpoints, report.latest) == (("step-00000002",), "step-00000002")
    lines = report.lines()
    assert lines[0] == f"{folder}: stage vision, not finished, 2 steps"
    assert [lines[row].split() for row in (1, 2, 4)] == [["first", "last"], ["step", "1", "2"], ["loss", "4", "2"]]
    assert len({len(line) for line in lines[1:15]}) == 1  # the columns stand one under the other
    assert lines[-3:] == [
        "  samples in all  16",
        "  tokens in all   200",
        "  checkpoints     step-00000002 (latest)",
    ]


def test_a_folder_of_runs_is_each_of_them_in_the_order_of_the_stages(tmp_path):
    for stage, losses in (("vision", 2), ("projection", 1), ("another", 3)):
        (tmp_path / "runs" / stage).mkdir(parents=True)
        (tmp_path / "runs" / stage / "config.yaml").write_text(f"train: {{stage: {stage}}}\n")
        append_lines(tmp_path / "runs" / stage / "metrics.jsonl", [metrics_line(step) for step in range(1, losses + 1)])
    report = inspected(tmp_path, "runs")
    assert isinstance(report, RunsReport)
    assert [(run.stage, run.steps) for run in report.runs] == [("projection", 1), ("vision", 2), ("another", 3)]
    with pytest.raises(DataError) as caught:  # without a name it is data/, which is not there; the runs are
        inspected(tmp_path)
    assert caught.value.hint == "aurora inspect runs"
    assert report.lines()[:5] == [
        f"{tmp_path / 'runs'}: 3 runs",
        "  run                state  steps        loss  validation  tokens",
        "  projection  not finished      1      4 -> 4           -     100",
        "  vision      not finished      2      4 -> 2           -     200",
        "  another     not finished      3  4 -> 1.333           -     300",
    ]
    written = inspected(tmp_path, "runs", html=Path("page.html"))
    assert written.lines()[-1] == f"  wrote {tmp_path / 'page.html'}"
    assert (tmp_path / "page.html").read_text().count('<section class="run"') == 3


def test_what_cannot_be_inspected_says_so(tmp_path):
    with pytest.raises(DataError) as caught:
        inspected(tmp_path)
    assert caught.value.hint == "aurora download"
    (tmp_path / "image.jpg").touch()
    with pytest.raises(UsageError, match="is no annotation file"):
        inspected(tmp_path, "image.jpg")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no annotations, no shards and no run"):
        inspected(tmp_path, "empty")


def test_what_is_nearly_right_is_taken_or_led_to_the_right_thing(tmp_path, tokenized):
    assert inspected(tmp_path, f"{tokenized}/shards").path == str(tmp_path / tokenized)
    for inside in ("rejected.jsonl", "merged/manifest.json", "shards/part-00000/data-00000-of-00001.arrow"):
        path = tmp_path / tokenized / inside
        with pytest.raises(UsageError, match="is a part of a token store") as caught:
            inspected(tmp_path, path)
        assert caught.value.hint == f"aurora inspect {path.parent}"
    with pytest.raises(DataError) as caught:
        inspected(tmp_path, ".")
    assert caught.value.hint == f"aurora inspect {tmp_path / 'data'}\naurora inspect {tmp_path / 'tokenized'}"
    with pytest.raises(DataError, match="there is nothing") as caught:
        inspected(tmp_path, "tokenised")
    assert "without a name it is data/" in (caught.value.hint or "")


def test_a_tokenized_folder_without_a_whole_shard_is_listed_too(tmp_path, tokenized):
    (tmp_path / "tokenized/vision/other/shards").mkdir(parents=True)
    report = inspected(tmp_path, "tokenized")
    assert (len(report.stores), report.begun) == (1, (str(tmp_path / "tokenized/vision/other"),))
    with pytest.raises(DataError, match="holds no whole shard"):
        inspected(tmp_path, "tokenized/vision/other")


def test_folders_of_frames_are_there_for_every_command_that_looks(tmp_path):
    """One plain, one inside an indexed archive, one empty."""
    folder = tmp_path / "data/vision/mine"
    frame = io.BytesIO()
    Image.new("RGB", (64, 64)).save(frame, "JPEG")
    names = ("plain", "packed", "empty")
    turns = [{"from": "human", "value": "<video>\nDescribe."}, {"from": "gpt", "value": "A red circle."}]
    videos = [{"id": name, "video": name, "conversations": turns} for name in names]
    for name in ("plain", "empty"):
        (folder / name).mkdir(parents=True)
    for number in range(2):
        (folder / f"plain/{number}.jpg").write_bytes(frame.getvalue())
    (folder / "a.tar").write_bytes(tar_of(*(info(f"packed/{n}.jpg", frame.getvalue()) for n in range(2))))
    (folder / "mine.jsonl").write_text("".join(json.dumps(video) + "\n" for video in videos))
    extract(Settings(workspace=tmp_path, extract=ExtractSettings(layout="index")))

    explained = inspected(tmp_path, "data/vision/mine/mine.jsonl")
    assert (explained.media, explained.missing) == (3, 1)
    looked_for = inspected(tmp_path, decode=True)
    assert [path.rsplit("/", 1)[1] for path in looked_for.missing] == ["empty"]
    assert looked_for.unreadable == ()

    tokenize(settings(tmp_path))
    shown = inspected(tmp_path, "tokenized/vision/mine", samples=9)
    assert [row.media for row in shown.samples] == [{"plain": "folder"}, {"packed": "index"}, {"empty": "missing"}]
    checked = tokenize(settings(tmp_path, check_media=True, force=True))
    assert checked.folders[0].rejected["missing_media"] == 1
    assert checked.folders[0].kept == 2


@pytest.mark.slow
def test_parts_of_a_video_are_decoded_each_and_counted_as_one_video(tmp_path):
    folder = tmp_path / "data/vision/mine"
    (folder / "frames").mkdir(parents=True)
    Image.new("RGB", (32, 32)).save(folder / "frames/0.jpg")
    write_video(folder / "a.mp4", range(0, 2_000, 100))
    turns = [{"from": "human", "value": "<video>What?"}, {"from": "gpt", "value": "A square."}]
    lines = [{"video": "a.mp4", "start": start, "end": start + 1} for start in (0, 1, 5)]
    lines.append({"video": "frames", "start": 0, "end": 1})
    (folder / "mine.jsonl").write_text("".join(json.dumps({**line, "conversations": turns}) + "\n" for line in lines))
    quick, report = inspected(tmp_path), inspected(tmp_path, decode=True)
    assert (quick.subsets[0].media, report.subsets[0].media, report.subsets[0].found) == (2, 2, 2)
    assert report.subsets[0].unreadable == 2
    assert [(Path(path).name, reason.partition(":")[2].strip() or reason) for path, reason in report.unreadable] == [
        ("a.mp4", "5 to 6 s holds none of its frames: it is 2.0 s long"),
        ("frames", "a folder of frames has no times, so no part of it"),
    ]
    assert report.subsets[0].keys_read == {"video": 4, "start": 4, "end": 4}


def test_a_folder_without_images_cannot_be_decoded_as_a_video(tmp_path):
    folder = tmp_path / "data/vision/mine"
    (folder / "notes").mkdir(parents=True)
    (folder / "notes/a.txt").touch()
    (folder / "mine.jsonl").write_text(json.dumps(record(0, image=["notes"])) + "\n")
    ((_, reason),) = inspected(tmp_path, decode=True).unreadable
    assert reason == "a folder without images"


def test_media_are_looked_for_where_the_user_says(tmp_path, tokenized):
    """A folder beside the data holds 1.jpg and 2.jpg; the data folder itself has 0.jpg."""
    media = tmp_path / "media"
    media.mkdir()
    for index in (1, 2):
        (media / f"{index}.jpg").touch()
    file = inspected(tmp_path, "data/vision/mine/mine.jsonl", media_root="media")
    assert (file.media, file.missing, file.media_estimated) == (5, 3, False)
    data = inspected(tmp_path, media_root="media")
    assert (data.subsets[0].found, data.subsets[0].missing) == (2, 3)
    assert data.missing[0] == str(media / "0.jpg")
    for path in (tokenized, f"{tokenized}/merged"):
        store = inspected(tmp_path, path, samples=9, media_root="media")
        states = [state for row in store.samples for state in row.media.values()]
        assert states == ["missing", "folder", "folder", "missing", "missing"]
        assert store.samples[0].media_root == str(media)


def test_a_media_root_that_is_nowhere_or_of_no_use_is_an_error(tmp_path, tokenized):
    with pytest.raises(UsageError, match="medai: there is nothing"):
        inspected(tmp_path, tokenized, media_root="medai")
    with pytest.raises(UsageError, match="names no media"):
        inspected(tmp_path, "tokenized", media_root="data")
    with pytest.raises(UsageError, match="is no data folder"):
        inspected(tmp_path, tokenized, decode=True)


def test_more_media_than_are_kept_are_estimated_and_said_to_be(tmp_path, monkeypatch):
    monkeypatch.setattr(annotations, "DistinctSample", lambda: DistinctSample(64))
    write_records(tmp_path / "a.jsonl", 2000)
    for index in range(0, 2000, 4):
        (tmp_path / f"{index}.jpg").touch()
    report = inspected(tmp_path, "a.jsonl")
    assert report.media_estimated
    assert report.media == pytest.approx(2000, rel=0.8)  # five times the standard error of 32 kept
    assert 0 < report.missing < report.media
    assert any("missing (estimates, good to about 0.1 %)" in line for line in report.lines())
    assert "estimates" not in "\n".join(replace(report, media_estimated=False).lines())
