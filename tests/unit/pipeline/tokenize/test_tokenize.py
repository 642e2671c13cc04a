"""`aurora tokenize`: shards that are whole, in order, resumable, and made of all that was read."""

import gzip
import json
import math
import shutil
from pathlib import Path

import pytest
from PIL import Image

from aurora_cli.config.settings import ExtractSettings, ModelSettings, Settings
from aurora_cli.console import SILENT
from aurora_cli.data.token_store.store import open_store
from aurora_cli.data.tokenization.tokenizer import load_tokenizer
from aurora_cli.errors import DataError, UsageError
from aurora_cli.io.atomic import read_json
from aurora_cli.io.locks import file_lock
from aurora_cli.pipeline.extract.command import run as extract
from aurora_cli.pipeline.inspect.annotations import inspect_annotations
from aurora_cli.pipeline.merge_shards import run as merge
from aurora_cli.pipeline.tokenize.command import run
from tests.archiving import info, tar_of
from tests.chat_templates import CHAT_TEMPLATES
from tests.run_files import json_lines
from tests.tokenizing import ROOT, TINY, contents, merge_settings, record, settings, write_records


def shard(output: Path, index: int) -> Path:
    return output / "shards" / f"part-{index:05d}"


@pytest.fixture
def output(tmp_path) -> Path:
    return tmp_path / "tokenized" / "vision" / "mine"


def test_each_subset_of_the_workspace_goes_into_its_own_folder(tmp_path):
    for subset in ("vision/mine", "vision/yours", "language/mine"):
        write_records(tmp_path / "data" / subset / "x.jsonl", 3)
    (tmp_path / "data" / "vision" / "mine" / "rejected.jsonl").write_text("{}\n")
    result = run(settings(tmp_path))
    assert [Path(folder.output).relative_to(tmp_path).as_posix() for folder in result.folders] == [
        "tokenized/language/mine",
        "tokenized/vision/mine",
        "tokenized/vision/yours",
    ]
    some = run(settings(tmp_path, splits=("vision",), subsets=("mine",)))
    assert [(folder.output, folder.made) for folder in some.folders] == [(str(tmp_path / "tokenized/vision/mine"), 0)]


def test_a_shard_is_a_batch_of_one_file_in_input_order(tmp_path):
    first = write_records(tmp_path / "a.jsonl", 5)
    second = write_records(tmp_path / "b.jsonl", 3, start=5)
    result = run(settings(tmp_path, inputs=(first, second), output="out", batch_size=2))
    assert (result.folders[0].shards, result.folders[0].kept) == (5, 8)
    rows = [contents(shard(tmp_path / "out", index)) for index in range(5)]
    assert [[row[0] for row in part] for part in rows] == [["r0", "r1"], ["r2", "r3"], ["r4"], ["r5", "r6"], ["r7"]]
    manifest = read_json(shard(tmp_path / "out", 3) / "manifest.json")
    assert manifest["source"]["path"] == "b.jsonl"
    assert manifest["source"]["size"] == second.stat().st_size
    assert len(manifest["source"]["sha256"]) == 64
    assert manifest["lines"] == [1, 2]
    assert manifest["counts"]["read"] == manifest["counts"]["kept"] == 2
    assert manifest["tokenizer_fingerprint"] == load_tokenizer(TINY).fingerprint
    assert (manifest["template"], manifest["max_length"], manifest["frames"]) == ("vicuna", 4096, 8)
    assert read_json(tmp_path / "out" / "tokenize.json")["shards"] == 5
    assert (tmp_path / "out" / "tokenizer.json").read_text() == (TINY / "tokenizer.json").read_text()


def test_every_record_is_kept_or_listed_with_its_reason(tmp_path):
    file = tmp_path / "a.jsonl"
    lines = [json.dumps(record(0)), "oops", "", json.dumps(record(1, image=None)), json.dumps(record(2, id=None))]
    file.write_text("\n".join(lines))
    folder = run(settings(tmp_path, inputs=(file,), output="out", batch_size=2)).folders[0]
    assert (folder.read, folder.kept, folder.rejected) == (4, 2, {"bad_json": 1, "image_count": 1})
    rejects = json_lines(tmp_path / "out" / "rejected.jsonl")
    assert [(entry["file"], entry["line"], entry["id"], entry["reason"]) for entry in rejects] == [
        ("a.jsonl", 2, "a.jsonl:2", "bad_json"),
        ("a.jsonl", 4, "r1", "image_count"),
    ]
    assert contents(shard(tmp_path / "out", 1))[0][0] == "a.jsonl:5"


@pytest.mark.slow
def test_the_same_records_in_any_form_and_by_any_workers_give_the_same_rows(tmp_path):
    lines = write_records(tmp_path / "a.jsonl", 2_500)
    records = json_lines(lines)
    array = tmp_path / "b.json"
    array.write_text(json.dumps(records, indent=1))
    zipped = tmp_path / "c.jsonl.gz"
    zipped.write_bytes(gzip.compress(lines.read_bytes()))
    for name, file, workers in (("1", lines, 1), ("2", lines, 2), ("3", array, 1), ("4", zipped, 1)):
        run(settings(tmp_path, inputs=(file,), output=name, batch_size=1_100, workers=workers))
    first, *others = [[contents(shard(tmp_path / name, index)) for index in range(3)] for name in "1234"]
    assert [len(part) for part in first] == [1_100, 1_100, 300]
    assert all(other == first for other in others)


def test_a_second_run_does_nothing_and_says_so(tmp_path, output):
    write_records(tmp_path / "data/vision/mine/mine.jsonl", 5)
    run(settings(tmp_path, batch_size=2))
    before = {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.name != ".lock"}
    result = run(settings(tmp_path, batch_size=2))
    assert result.folders[0].made == 0
    assert any("nothing to do" in line for line in result.lines())
    assert {path: path.stat().st_mtime_ns for path in output.rglob("*") if path.name != ".lock"} == before


@pytest.mark.parametrize("damage", ["missing", "half", "cut", "last"])
def test_a_rerun_makes_only_the_missing_shards(tmp_path, output, damage):
    write_records(tmp_path / "data/vision/mine/mine.jsonl", 6)
    run(settings(tmp_path, batch_size=2))
    whole = [contents(shard(output, index)) for index in range(3)]
    victim = shard(output, 2 if damage == "last" else 1)
    untouched = (shard(output, 0) / "manifest.json").stat().st_mtime_ns
    if damage == "half":
        (victim / "manifest.json").unlink()
    elif damage == "cut":
        data = victim / "data-00000-of-00001.arrow"
        data.write_bytes(data.read_bytes()[:-8])
    else:
        for file in victim.iterdir():
            file.unlink()
        victim.rmdir()
    assert run(settings(tmp_path, batch_size=2)).folders[0].made == 1
    assert [contents(shard(output, index)) for index in range(3)] == whole
    assert (shard(output, 0) / "manifest.json").stat().st_mtime_ns == untouched


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"max_length": 64}, "max_length: 4096, not 64"),
        ({"template": "plain"}, "template: vicuna, not plain"),
        ({"record_schema": "llava"}, "record_schema: auto, not llava"),
        ({"frames": 4}, "frames: 8, not 4"),
        ({"image_places": "kept"}, "image_places: front, not kept"),
        ({"batch_size": 3}, "batch_size: 2, not 3"),
        ({"frame_lists": "clip"}, "frame_lists of data/vision/mine/mine.jsonl: separate, not clip"),
    ],
)
def test_other_settings_than_a_finished_shards_are_refused_by_name(tmp_path, output, change, named):
    write_records(tmp_path / "data/vision/mine/mine.jsonl", 6)
    run(settings(tmp_path, batch_size=2))
    with pytest.raises(UsageError, match=named):
        run(settings(tmp_path, **{"batch_size": 2, **change}))
    forced = run(settings(tmp_path, **{"batch_size": 2, "force": True, **change})).folders[0]
    assert forced.made == forced.shards
    merge(merge_settings(tmp_path))


def test_force_makes_shards_again_that_were_damaged_at_equal_size(tmp_path, output):
    write_records(tmp_path / "data/vision/mine/mine.jsonl", 6)
    run(settings(tmp_path, batch_size=2))
    whole = [contents(shard(output, index)) for index in range(3)]
    data = shard(output, 1) / "data-00000-of-00001.arrow"
    data.write_bytes(bytes(len(data.read_bytes())))
    assert run(settings(tmp_path, batch_size=2)).folders[0].made == 0
    forced = settings(tmp_path, batch_size=2, force=True)
    assert "(complete, all would be made again)" in run(forced, dry_run=True).lines()[0]
    assert run(forced).folders[0].made == 3
    assert [contents(shard(output, index)) for index in range(3)] == whole


def test_settings_that_cannot_be_do_not_cost_the_shards(tmp_path, output):
    write_records(tmp_path / "data/vision/mine/mine.jsonl", 2)
    run(settings(tmp_path))
    with pytest.raises(UsageError, match="llama3 needs a tokenizer that has"):
        run(settings(tmp_path, template="llama3", force=True))
    assert run(settings(tmp_path)).folders[0].made == 0


@pytest.mark.slow
def test_another_tokenizer_or_input_is_refused_by_name(tmp_path):
    file = write_records(tmp_path / "data/vision/mine/mine.jsonl", 6)
    run(settings(tmp_path))
    mistral = ROOT / "tests/golden/tokenize/mistral_v1"
    other = settings(tmp_path).model_copy(update={"model": ModelSettings(tokenizer=str(mistral))})
    with pytest.raises(UsageError, match=r"tokenizer: .*tiny/tokenizer .* not .*mistral_v1"):
        run(other)
    write_records(file, 7)
    with pytest.raises(UsageError, match=r"input: data/vision/mine/mine\.jsonl had sha256"):
        run(settings(tmp_path))
    assert run(settings(tmp_path, force=True)).folders[0].kept == 7


def test_another_chat_template_of_the_same_tokenizer_is_refused_by_name(tmp_path):
    write_records(tmp_path / "data/vision/mine/mine.jsonl", 6)
    shutil.copytree(TINY, tmp_path / "own")
    own = settings(tmp_path, template="tokenizer").model_copy(update={"model": ModelSettings(tokenizer="own")})
    with pytest.raises(UsageError, match="needs a tokenizer with a chat template"):
        run(own)
    (tmp_path / "own/chat_template.jinja").write_text(CHAT_TEMPLATES["brackets"].source)
    assert run(own).folders[0].kept == 6
    (tmp_path / "own/chat_template.jinja").write_text(CHAT_TEMPLATES["generation"].source)
    with pytest.raises(UsageError, match="chat_template: "):
        run(own)


def test_stopping_at_the_first_bad_record_leaves_the_shards_before_it(tmp_path):
    file = write_records(tmp_path / "a.jsonl", 4)
    file.write_text(file.read_text() + "oops\n")
    with pytest.raises(DataError, match=r"a\.jsonl:5: bad_json"):
        run(settings(tmp_path, inputs=(file,), output="out", batch_size=2, on_error="stop"))
    assert sorted(path.name for path in (tmp_path / "out/shards").iterdir()) == ["part-00000", "part-00001"]
    assert not (tmp_path / "out/tokenize.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_damaged_compression_leaves_the_shards_before_it(tmp_path, workers):
    lines = write_records(tmp_path / "a.jsonl", 4_000).read_bytes()
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines)[:-8_000])
    given = settings(tmp_path, inputs=(Path("a.jsonl.gz"),), output="out", batch_size=400, workers=workers)
    with pytest.raises(DataError, match=r"a\.jsonl\.gz: cannot be read after record") as caught:
        run(given)
    whole = int(caught.value.message.split("after record ")[1].split(":")[0]) // 400
    assert len(list((tmp_path / "out/shards").iterdir())) == whole > 1


def test_lists_of_images_are_videos_where_the_settings_say_so(tmp_path):
    turns = [{"from": "human", "value": "<image>" * 3}, {"from": "gpt", "value": "A."}]
    for subset in ("clips", "images"):
        file = tmp_path / "data/vision" / subset / "x.jsonl"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(record(0, image=["1", "2", "3"], conversations=turns)) + "\n")
    run(settings(tmp_path, clip_subsets=("clips",)))
    lengths = [contents(tmp_path / f"tokenized/vision/{name}/shards/part-00000")[0][3] for name in ("clips", "images")]
    assert lengths == [[3], [1, 1, 1]]


def test_two_runs_on_one_output_do_not_mix(tmp_path, output):
    write_records(tmp_path / "data/vision/mine/mine.jsonl", 2)
    with file_lock(output, "aurora tokenize"), pytest.raises(UsageError, match="is being written by aurora tokenize"):
        run(settings(tmp_path))


def test_a_dry_run_touches_nothing(tmp_path):
    write_records(tmp_path / "data/vision/mine/mine.jsonl", 2)
    result = run(settings(tmp_path), SILENT, dry_run=True)
    assert "would tokenize into" in result.lines()[0]
    assert not (tmp_path / "tokenized").exists()


def test_nothing_to_work_on_says_what_to_type(tmp_path):
    with pytest.raises(DataError) as caught:
        run(settings(tmp_path))
    assert caught.value.hint == "aurora download"
    write_records(tmp_path / "data/vision/mine/mine.jsonl", 1)
    with pytest.raises(DataError, match="vision/mine"):
        run(settings(tmp_path, subsets=("none",)))
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(DataError, match="no records"):
        run(settings(tmp_path, inputs=(Path("empty.jsonl"),), output="out"))
    (tmp_path / "a.csv").touch()
    with pytest.raises(UsageError, match="is no annotation file"):
        run(settings(tmp_path, inputs=(Path("a.csv"),)))


def test_inputs_of_several_subsets_need_an_output(tmp_path):
    files = [write_records(tmp_path / f"data/vision/{name}/x.jsonl", 1) for name in ("one", "two")]
    with pytest.raises(UsageError, match="2 subsets: one, two"):
        run(settings(tmp_path, inputs=tuple(files)))
    assert run(settings(tmp_path, inputs=tuple(files), output="out")).folders[0].kept == 2
    merge(merge_settings(tmp_path, folders=("out",)))
    assert read_json(tmp_path / "out/merged/manifest.json")["media_root"] is None


def video_record(index: int, **fields) -> dict:
    turns = [{"from": "human", "value": "<video>\nWhat?"}, {"from": "gpt", "value": "A circle."}]
    return {"id": f"r{index}", "video": f"{index}.mp4", "conversations": turns, **fields}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_parts_of_videos_go_into_the_shards_that_have_some_and_all_of_them_are_one_data_set(tmp_path):
    from datasets import load_from_disk

    lines = [video_record(0), video_record(1), video_record(2, start=3, end=4.5), video_record(3, begin=9)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    folder = run(settings(tmp_path, inputs=(Path("a.jsonl"),), output="out", batch_size=2)).folders[0]
    assert (folder.spans, folder.keys_read) == (2, {"video": 4, "start": 1, "end": 1, "begin": 1})
    merge(merge_settings(tmp_path, folders=("out",)))
    rows = open_store(tmp_path / "out/merged").rows(range(4))
    assert [row.span for row in rows] == [None, None, (3.0, 4.5), (9.0, math.inf)]
    dataset = load_from_disk(str(tmp_path / "out/merged"))
    assert dataset["span"][:3] == [None, None, [3.0, 4.5]]
    assert load_from_disk(str(tmp_path / "out/shards/part-00000")).column_names[-1] == "length"
    assert read_json(tmp_path / "out/merged/manifest.json")["counts"]["spans"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_keys_are_counted_in_the_output_and_in_the_manifests(tmp_path, workers):
    lines = [
        record(0),
        record(1, img_file="x.jpg", speaker=None),
        record(2, images=["2.jpg"]),
        record(3, image="s3://b"),
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    given = settings(tmp_path, inputs=(Path("a.jsonl"),), output="out", workers=workers)
    result = run(given)
    folder = result.folders[0]
    assert (folder.kept, folder.rejected) == (3, {"remote_media": 1})
    assert folder.keys_read == {"image": 4, "images": 1}
    assert folder.keys_warned == {"img_file": 1}
    assert "  keys NOT read, that look as if they mattered: img_file 1" in result.lines()
    counts = read_json(shard(tmp_path / "out", 0) / "manifest.json")["counts"]
    assert (counts["keys_read"], counts["keys_warned"]) == ({"image": 4, "images": 1}, {"img_file": 1})
    assert run(given).folders[0].keys_warned == {"img_file": 1}, "a second run says the same"


def test_a_key_that_is_not_read_is_named_where_images_are_missing(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps(record(0, image=None, img_file="0.jpg")) + "\n")
    run(settings(tmp_path, inputs=(Path("a.jsonl"),), output="out"))
    (entry,) = map(json.loads, (tmp_path / "out/rejected.jsonl").read_text().splitlines())
    assert (entry["reason"], entry["detail"]) == ("image_count", "0 images, 1 <image>; not read: img_file")


def test_frames_of_a_list_are_spread_over_it(tmp_path):
    lines = [video_record(0, video=[f"{n}.jpg" for n in range(20)]), video_record(1, video=["0.jpg", "1.jpg"])]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    run(settings(tmp_path, inputs=(Path("a.jsonl"),), output="out", frames=4))
    long, short = contents(shard(tmp_path / "out", 0))
    assert (long[1:4], long[4].count(-200)) == ((["2.jpg", "7.jpg", "12.jpg", "17.jpg"], None, [4]), 4)
    assert (short[1:4], short[4].count(-200)) == ((["0.jpg", "1.jpg"], None, [2]), 2)


@pytest.mark.parametrize(
    ("places", "turn", "words"),
    [
        ("front", "A <image> is left of <image>.", "USER: <image> <image>\nA  is left of . ASSISTANT:"),
        ("kept", "A <image> is left of <image>.", "USER: A <image> is left of <image>. ASSISTANT:"),
        ("kept", "<image>\nWhat?", "USER: <image>\nWhat? ASSISTANT:"),
        (
            "kept",
            [
                {"type": "text", "text": "A "},
                {"type": "image", "image": "0.jpg"},
                {"type": "text", "text": "and"},
                "B.",
            ],
            "USER: A <image>and\nB. ASSISTANT:",
        ),
        (
            "front",
            [
                {"type": "text", "text": "A "},
                {"type": "image", "image": "0.jpg"},
                {"type": "text", "text": "and"},
                "B.",
            ],
            "USER: <image>\nA \nand\nB. ASSISTANT:",
        ),
    ],
)
def test_images_stay_between_the_words_where_the_settings_say_so(tmp_path, places, turn, words):
    images = None if isinstance(turn, list) else [f"{n}.jpg" for n in range(turn.count("<image>"))]
    turns = [{"from": "human", "value": turn}, {"from": "gpt", "value": "Yes."}]
    (tmp_path / "a.jsonl").write_text(json.dumps(record(0, image=images, conversations=turns)) + "\n")
    given = settings(tmp_path, inputs=(Path("a.jsonl"),), output="out", image_places=places)
    assert run(given).folders[0].kept == 1
    (row,) = open_store(shard(tmp_path / "out", 0)).rows([0])
    expected = [token for chunk in words.split("<image>") for token in (-200, *load_tokenizer(TINY).encode(chunk))][1:]
    assert row.input_ids.tolist()[1 : 1 + len(expected)] == expected
    assert inspect_annotations(tmp_path / "a.jsonl", given).sample.startswith(words)


def test_a_video_that_stays_between_the_words_is_its_frames_there(tmp_path):
    turns = [{"from": "human", "value": "First <video> then say."}, {"from": "gpt", "value": "Yes."}]
    (tmp_path / "a.jsonl").write_text(json.dumps({"video": "a.mp4", "conversations": turns}) + "\n")
    given = settings(tmp_path, inputs=(Path("a.jsonl"),), output="out", image_places="kept", frames=3)
    run(given)
    assert inspect_annotations(tmp_path / "a.jsonl", given).sample.startswith(
        "USER: First <image> <image> <image> then say. ASSISTANT:"
    )
    assert contents(shard(tmp_path / "out", 0))[0][3] == [3]


def test_a_schema_that_is_not_there_is_refused_with_those_that_are(tmp_path):
    write_records(tmp_path / "a.jsonl", 1)
    with pytest.raises(
        UsageError, match="'coco' is no record schema; there are auto, llava, openai-messages, sharegpt4"
    ):
        run(settings(tmp_path, inputs=(Path("a.jsonl"),), output="out", record_schema="coco"), dry_run=True)


def test_a_file_of_which_nothing_can_be_used_exits_3(tmp_path):
    (tmp_path / "a.jsonl").write_text("oops\n")
    assert run(settings(tmp_path, inputs=(Path("a.jsonl"),), output="out")).exit_code == 3


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_records_whose_media_are_not_there_are_rejected_when_somebody_looks(tmp_path, workers):
    folder = tmp_path / "data/vision/mine"
    write_records(folder / "mine.jsonl", 4)
    with open(folder / "mine.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(record(9, image=None, conversations=record(9)["conversations"][1:] * 2)) + "\n")
    (folder / "0.jpg").touch()
    (folder / "a.tar").write_bytes(tar_of(info("2.jpg", b"image")))
    extract(Settings(workspace=tmp_path, extract=ExtractSettings(layout="index")))
    assert run(settings(tmp_path)).folders[0].kept == 4
    with pytest.raises(UsageError, match="check_media: False, not True"):
        run(settings(tmp_path, check_media=True))
    result = run(settings(tmp_path, check_media=True, force=True, workers=workers))
    assert result.folders[0].rejected["missing_media"] == 2
    lines = json_lines(tmp_path / "tokenized/vision/mine/rejected.jsonl")
    missing = [entry for entry in lines if entry["reason"] == "missing_media"]
    assert [(entry["id"], entry["detail"]) for entry in missing] == [("r1", "1.jpg"), ("r3", "3.jpg")]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_media_are_looked_for_in_another_folder_if_the_settings_name_one(tmp_path, workers):
    folder = tmp_path / "data/vision/mine"
    write_records(folder / "mine.jsonl", 4)
    (tmp_path / "media").mkdir()
    (folder / "1.jpg").touch()
    for name in ("0.jpg", "2.jpg", "3.jpg"):
        (tmp_path / "media" / name).touch()
    result = run(settings(tmp_path, check_media=True, media_root="media", workers=workers)).folders[0]
    assert (result.kept, result.rejected) == (3, {"missing_media": 1})
    output = tmp_path / "tokenized/vision/mine"
    manifest = read_json(output / "shards/part-00000/manifest.json")
    assert (manifest["media_root"], manifest["source"]["media_root"]) == ("media", "media")
    merge(merge_settings(tmp_path))
    assert open_store(output / "merged").media_root(2) == "media"
    with pytest.raises(UsageError, match=r"media_root of data/vision/mine/mine\.jsonl: media, not data/vision/mine\n"):
        run(settings(tmp_path, check_media=True, workers=workers))


def test_images_of_several_frames_are_counted_where_media_are_looked_at(tmp_path):
    """Training reads the first frame of what a record calls an image."""
    folder = tmp_path / "data/vision/mine"
    frames = [Image.new("L", (8, 8), shade) for shade in (0, 250)]
    names = ("moves.gif", "moves.webp", "still.gif", "still.png")
    for name in names:
        more = frames[1:] if name.startswith("moves") else []
        folder.mkdir(parents=True, exist_ok=True)
        frames[0].save(folder / name, save_all=bool(more), append_images=more)
    records = [
        *({**record(number), "image": name} for number, name in enumerate(names)),
        {**record(4), "image": "gone.gif"},
        {**record(5), "image": None, "video": "moves.gif"},
        {**record(6), "image": None, "video": ["moves.gif", "still.gif"]},
    ]
    (folder / "mine.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records))
    assert run(settings(tmp_path)).folders[0].animated == 0, "nobody looks"
    result = run(settings(tmp_path, check_media=True, force=True))
    assert (result.folders[0].kept, result.folders[0].animated) == (6, 2)
    assert "  2 have an image of several frames" in "\n".join(result.lines())
    manifest = read_json(tmp_path / "tokenized/vision/mine/shards/part-00000/manifest.json")
    assert manifest["counts"]["animated"] == 2


def test_media_outside_of_the_workspace_are_kept_as_absolute_paths(tmp_path):
    write_records(tmp_path / "workspace/data/vision/mine/mine.jsonl", 1)
    (tmp_path / "disk").mkdir()
    run(settings(tmp_path / "workspace", media_root=tmp_path / "disk"))
    store = open_store(tmp_path / "workspace/tokenized/vision/mine/shards/part-00000")
    assert store.media_root(0) == str(tmp_path / "disk")


def test_a_media_root_that_is_not_there_is_named_before_every_record_is_rejected(tmp_path):
    write_records(tmp_path / "data/vision/mine/mine.jsonl", 1)
    with pytest.raises(DataError, match=r"tokenize\.media_root: \S+/nowhere: there is no such folder"):
        run(settings(tmp_path, check_media=True, media_root="nowhere"))
    assert run(settings(tmp_path, media_root="nowhere")).folders[0].kept == 1, "nobody looks"
