"""`aurora caption --manifest`: a line a row in the output, frames within the row's span, and nothing made twice."""

import base64
import json
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import aurora_cli
from aurora_cli.captioning.inputs import caption_inputs
from aurora_cli.captioning.job import source
from aurora_cli.captioning.job.output import CaptionFile
from aurora_cli.captioning.result import Uncaptioned
from aurora_cli.console import Reporter
from aurora_cli.data.media.decoders.sampling import EVENLY_IN_TIME
from aurora_cli.errors import DataError, UsageError
from aurora_cli.pipeline.caption import command as caption
from tests.captioners import MODEL, caption_settings, make_runs
from tests.run_files import json_lines

SHADES = [20, 60, 100, 140, 180, 220, 250, 10]


def gif(path: Path, shades: list[int]) -> None:
    """A tenth of a second a frame."""
    frames = [Image.new("L", (32, 32), shade) for shade in shades]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("manifest")
    make_runs(root)
    gif(root / "clip.gif", SHADES)
    gif(root / "part.gif", SHADES[2:5])
    Image.new("RGB", (40, 40), "teal").save(root / "still.png")
    return root


@pytest.fixture
def workspace(made, tmp_path) -> Path:
    for entry in made.iterdir():
        (tmp_path / entry.name).symlink_to(entry)
    return tmp_path


def write_rows(workspace: Path, *rows: object) -> Path:
    (workspace / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Path("rows.jsonl")


def shades_in(frames) -> list[int]:
    pixels = frames.numpy() * np.array(MODEL.image_std).reshape(1, 3, 1, 1)
    pixels += np.array(MODEL.image_mean).reshape(1, 3, 1, 1)
    return [round(float(shade)) for shade in pixels.mean(axis=(1, 2, 3)) * 255]


def test_frames_are_those_within_the_span_of_files_and_of_what_lies_in_memory(workspace):
    with Image.open(workspace / "clip.gif") as opened:
        opened.load()
        inputs = caption_inputs([workspace / "clip.gif", opened, opened], [(0.2, 0.5), (0.2, 0.5), (0.6, None)])
        seen = [shades_in(each.frames(3, MODEL, EVENLY_IN_TIME)) for each in inputs]
    assert seen == [[100, 140, 180], [100, 140, 180], [250, 10, 10]]


@pytest.mark.slow
def test_a_row_is_captioned_by_its_own_span_and_question(workspace):
    rows = write_rows(
        workspace,
        {"media": "clip.gif", "id": 7, "span": [0.2, 0.5]},
        {"media": "part.gif"},
        {"media": "clip.gif", "id": "whole"},
        {"media": "clip.gif", "id": "asked", "prompt": "What is it?"},
        {"media": "still.png", "id": "still"},
    )
    settings = caption_settings(workspace, manifest=rows, max_new_tokens=6)
    assert caption.run(settings, dry_run=True).media == 5
    captions = caption.run(settings).captions
    assert [(each.media, each.id, each.span, each.prompt, each.kind) for each in captions] == [
        ("clip.gif", 7, (0.2, 0.5), None, "video"),
        ("part.gif", None, None, None, "video"),
        ("clip.gif", "whole", None, None, "video"),
        ("clip.gif", "asked", None, "What is it?", "video"),
        ("still.png", "still", None, None, "image"),
    ]
    assert captions[0].caption == captions[1].caption  # the part as a file of its own
    asked = caption.run(caption_settings(workspace, "clip.gif", clip_prompt="What is it?", max_new_tokens=6))
    assert (asked.captions[0].caption, asked.captions[0].prompt_tokens) == (
        captions[3].caption,
        captions[3].prompt_tokens,
    )
    assert captions[3].prompt_tokens < captions[2].prompt_tokens


def test_the_output_has_a_line_a_row_and_what_is_bad_is_listed_by_its_line(workspace):
    rows = write_rows(
        workspace,
        {"media": "clip.gif", "id": "a", "span": [0.2, None]},
        {"media": "gone.png", "id": "b"},
        {"image": "still.png", "id": "c"},
        {"media": "clip.gif", "id": "d", "span": [5, 6]},
        {"media": "still.png", "id": "e", "span": [0, 1]},
        {"media": "still.png", "id": "f", "prompt": "Write </s> now"},
        {"media": "clip.gif", "id": "g"},
        {"media": "clip.gif", "id": "g"},
    )
    settings = caption_settings(workspace, manifest=rows, max_new_tokens=3, output=Path("out/c.jsonl"), batch_size=3)
    result = caption.run(settings)
    assert (result.exit_code, result.captions, result.made, result.reused, result.repeated) == (3, (), 2, 0, 1)
    written = json_lines(workspace / "out" / "c.jsonl")
    assert [(line["media"], line["id"], line.get("span", "none")) for line in written] == [
        ("clip.gif", "a", [0.2, None]),
        ("clip.gif", "g", "none"),
    ]
    listed = json_lines(workspace / "out" / "rejected.jsonl")
    assert {line["line"]: (line.get("id"), line["reason"]) for line in listed} == {
        2: ("b", "there is no such file"),
        3: ("c", "media: it is missing; a path was expected"),
        4: ("d", "5 to 6 s holds none of its frames: it is 0.8 s long"),
        5: ("e", "an image has no times, so no part from 0 s"),
        6: ("f", "prompt: holds </s>, a special token of the model: it would not be read as words"),
    }
    assert {line["file"] for line in listed} == {str(workspace / "rows.jsonl")}
    assert f"{workspace / 'rows.jsonl'}: 8 rows, 2 captioned" in result.lines()


@pytest.mark.slow
def test_images_that_are_written_out_and_lists_of_frames_are_captioned_as_files_are(workspace):
    frames = []
    for number, shade in enumerate(SHADES):
        Image.new("L", (32, 32), shade).save(workspace / f"{number}.png")
        frames.append(f"{number}.png")
    still, clip = [
        f"data:image/x;base64,{base64.b64encode((workspace / name).read_bytes()).decode()}"
        for name in ("still.png", "clip.gif")
    ]
    media = ["still.png", still, "clip.gif", clip, frames, [frames[0], still]]
    rows = write_rows(workspace, *({"media": one, "id": number} for number, one in enumerate(media)))
    settings = caption_settings(workspace, manifest=rows, max_new_tokens=3, output=Path("c.jsonl"))
    result = caption.run(settings)
    assert (result.exit_code, result.made) == (3, 5)
    lines = {line["id"]: line for line in json_lines(workspace / "c.jsonl")}
    assert {number: line["kind"] for number, line in lines.items()} == {
        0: "image",
        1: "image",
        2: "video",
        3: "video",
        4: "video",
    }
    assert lines[0]["caption"] == lines[1]["caption"]
    assert lines[2]["caption"] == lines[3]["caption"] == lines[4]["caption"]
    assert (caption.run(settings).made, caption.run(settings).reused) == (0, 5)


@pytest.mark.slow
def test_a_second_run_captions_the_rows_that_are_new(workspace, monkeypatch):
    first = {"media": "clip.gif", "id": 1, "span": [0.2, 0.5]}
    output = workspace / "c.jsonl"
    rows = write_rows(workspace, first, {**first, "id": 2})
    settings = caption_settings(workspace, manifest=rows, max_new_tokens=3, output=output)
    assert caption.run(settings).made == 2
    before = output.read_bytes()
    output.write_bytes(before[: before.rindex(b"new_tokens")])
    write_rows(workspace, first, {**first, "id": 2}, {**first, "span": [0.2, 0.6]})
    again = caption.run(settings)
    assert (again.reused, again.made) == (1, 2)
    assert [(line["id"], line["span"]) for line in json_lines(output)] == [
        (1, [0.2, 0.5]),
        (2, [0.2, 0.5]),
        (1, [0.2, 0.6]),
    ]
    monkeypatch.setattr(source, "build_captioner", lambda *_, **__: pytest.fail("it was loaded"))
    assert caption.run(settings).reused == 3


def test_the_list_is_read_while_it_is_captioned(workspace, monkeypatch):
    """The first caption is in the output before the second row is read."""
    from aurora_cli.captioning.job.rows import RowReader

    output, held = workspace / "c.jsonl", []
    original = RowReader.unmarked

    def rows(self, keys):
        for row in original(self, keys):
            held.append(len(json_lines(output)) if output.exists() else 0)
            yield row

    monkeypatch.setattr(RowReader, "unmarked", rows)
    listed = write_rows(workspace, *({"media": "still.png", "id": number} for number in range(3)))
    caption.run(caption_settings(workspace, manifest=listed, max_new_tokens=2, output=output, batch_size=1))
    assert held == [0, 1, 2]


def test_unread_keys_are_told(workspace):
    class Warnings(Reporter):
        text = ""

        def warning(self, message: str) -> None:
            self.text += message

    warnings = Warnings()
    rows = write_rows(workspace, {"media": "still.png", "image": "other.png"})
    caption.run(caption_settings(workspace, manifest=rows, max_new_tokens=2), warnings)
    assert "keys NOT read, that look as if they mattered: image 1" in warnings.text


@pytest.mark.parametrize(
    ("output", "message"), [("rows.jsonl", "is the list of media"), ("other.jsonl", "did not write")]
)
def test_a_list_of_media_is_never_taken_for_an_output(workspace, output, message):
    rows = write_rows(workspace, {"media": "still.png"})
    (workspace / "other.jsonl").write_bytes((workspace / "rows.jsonl").read_bytes())
    with pytest.raises(UsageError, match=message):
        caption.run(caption_settings(workspace, manifest=rows, output=Path(output)))
    with pytest.raises(UsageError, match="media are named, and listed"):
        caption.run(caption_settings(workspace, "still.png", manifest=rows))


def test_spans_of_the_python_api(workspace):
    captioner = aurora_cli.load_captioner(workspace / "runs" / "language")
    part, whole = captioner.caption(
        [workspace / "clip.gif", workspace / "part.gif"], spans=[(0.2, 0.5), None], max_new_tokens=4
    )
    assert (part.caption, part.span, whole.span) == (whole.caption, (0.2, 0.5), None)
    array = np.zeros((4, 8, 8, 3), np.uint8)
    with pytest.raises(DataError, match=r"media\[0\]: has no times, so no part from 1 s"):
        captioner.caption([array], spans=[(1, 2)])
    with pytest.raises(UsageError, match="there are 1 for 2 media"):
        captioner.caption([array, array], spans=[None])
    with pytest.raises(UsageError, match=r"spans\[0\]: from 2 to 1 s"):
        captioner.caption([array], spans=[(2, 1)])


def test_outputs_of_one_folder_that_end_at_the_same_time_keep_each_others_rejects(tmp_path):
    files = [CaptionFile(tmp_path / f"{number}.jsonl", "me") for number in range(8)]

    def close(file: CaptionFile) -> None:
        for _ in range(5):
            file.close([Uncaptioned("a.png", "broken")], {}, 1)

    threads = [threading.Thread(target=close, args=(file,)) for file in files]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    listed = json_lines(tmp_path / "rejected.jsonl")
    assert sorted(line["output"] for line in listed) == sorted(file.path.name for file in files)
    assert not [entry for entry in tmp_path.iterdir() if entry.name.startswith(".")]


@pytest.mark.parametrize("named", [{"media": ("still.png",)}, {"manifest": Path("rows.jsonl")}, {"output": Path("c")}])
def test_what_a_page_would_not_look_at_is_refused(workspace, named):
    chosen = caption_settings(workspace)
    chosen = chosen.model_copy(update={"caption": chosen.caption.model_copy(update={"serve": True, **named})})
    with pytest.raises(UsageError, match=rf"--serve: .*caption\.{next(iter(named))} would say nothing"):
        caption.run(chosen, dry_run=True)
