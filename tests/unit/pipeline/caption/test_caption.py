"""`aurora caption`: everything that can be read gets a caption, once; the rest is listed."""

import contextlib
import functools
import json
import shutil
import threading
from collections.abc import Iterator
from dataclasses import asdict
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from PIL import Image

from aurora_cli.captioning.job import source
from aurora_cli.captioning.job.output import CaptionFile, key_of
from aurora_cli.captioning.options import CaptionOptions, Decoding
from aurora_cli.captioning.result import Caption, Uncaptioned
from aurora_cli.config.merging import TokenMerging
from aurora_cli.console import SILENT, Reporter, WritePiece
from aurora_cli.data.media.decoders.sampling import Sampling
from aurora_cli.data.media.listing import list_media
from aurora_cli.demo.dataset import encode_video
from aurora_cli.errors import DataError, HostError, UsageError
from aurora_cli.io.atomic import read_json
from aurora_cli.io.locks import lock_output
from aurora_cli.pipeline.caption import command as caption
from aurora_cli.pipeline.convert.command import run as convert
from tests.captioners import GOLDEN, caption_settings, convert_settings, make_runs
from tests.run_files import json_lines


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A workspace with runs, images, a video, a folder of frames and two broken files."""
    root = tmp_path_factory.mktemp("workspace")
    make_runs(root)
    media = root / "media"
    (media / "walk").mkdir(parents=True)
    for name in ("im_120x160.png", "grey_90x70.png"):
        shutil.copy(GOLDEN / "pixels" / "images" / name, media / name)
    for number in range(3):
        Image.new("RGB", (60, 40), (80 * number, 0, 0)).save(media / "walk" / f"frame_{number}.png")
    shades = [Image.new("RGB", (64, 64), (40 * number,) * 3) for number in range(6)]
    (media / "clip.mp4").write_bytes(encode_video(shades))
    (media / "broken.jpg").write_text("no image")
    (media / "broken.mp4").write_bytes(b"\0" * 100)
    (media / "notes.txt").write_text("not a medium")
    return root


GOOD = ["media/clip.mp4", "media/grey_90x70.png", "media/im_120x160.png", "media/walk"]
BAD = ["media/broken.jpg", "media/broken.mp4"]


@pytest.mark.slow
def test_a_folder_is_captioned_and_what_is_broken_is_listed(workspace):
    settings = caption_settings(workspace, "media", max_new_tokens=4, output=Path("out/captions.jsonl"))
    assert caption.run(settings, dry_run=True).media == 6
    assert not (workspace / "out").exists()
    result = caption.run(settings)
    assert result.exit_code == 3
    assert sorted(line.media for line in result.captions) == GOOD
    assert sorted(line.media for line in result.rejected) == BAD
    kinds = {line.media: (line.kind, line.frames, line.visual_tokens) for line in result.captions}
    assert kinds["media/im_120x160.png"] == ("image", 1, 8)
    assert kinds["media/clip.mp4"] == kinds["media/walk"] == ("video", 8, 64)
    assert all(line.new_tokens <= 4 for line in result.captions)
    written = json_lines(workspace / "out" / "captions.jsonl")
    assert sorted(line["media"] for line in written) == GOOD
    rejected = json_lines(workspace / "out" / "rejected.jsonl")
    assert sorted(line["media"] for line in rejected) == BAD
    assert all(line["reason"] for line in rejected)
    assert read_json(workspace / "out" / "captions.jsonl.settings.json")["merging"]["kept_ratio"] == 0.5
    assert json.dumps(asdict(result))


@pytest.mark.slow
def test_a_second_call_captions_only_what_is_new_and_a_torn_line_is_made_again(workspace):
    output = workspace / "captions.jsonl"
    first = caption.run(caption_settings(workspace, *GOOD, max_new_tokens=4, output=output))
    assert first.exit_code == 0
    whole = output.read_bytes()
    output.write_bytes(whole[: whole.rindex(b"new_tokens")])
    again = caption.run(caption_settings(workspace, *GOOD, max_new_tokens=4, output=output))
    assert again.reused == 3
    assert [line.caption for line in again.captions] == [line.caption for line in first.captions]
    assert len(json_lines(output)) == 4
    assert caption.run(caption_settings(workspace, *GOOD, max_new_tokens=4, output=output)).reused == 4


def test_an_output_has_one_writer_at_a_time(workspace):
    output = workspace / "captions.jsonl"
    mine = caption_settings(workspace, GOOD[1], max_new_tokens=4, output=output)
    with (
        lock_output(output, "aurora caption"),
        pytest.raises(UsageError, match=r"captions\.jsonl: is being written by aurora caption \(process \d+ on "),
    ):
        caption.run(mine)
    assert not output.exists()
    assert caption.run(mine).exit_code == 0
    assert not list(workspace.glob(".*.lock"))


@pytest.mark.slow
def test_captions_of_another_model_or_other_settings_are_made_anew(workspace):
    output = workspace / "captions.jsonl"
    caption.run(caption_settings(workspace, GOOD[1], max_new_tokens=4, output=output))
    other = caption.run(caption_settings(workspace, GOOD[1], max_new_tokens=2, output=output))
    assert other.reused == 0
    assert [line["new_tokens"] <= 2 for line in json_lines(output)] == [True]


@pytest.mark.slow
def test_captions_do_not_depend_on_the_batch_and_the_export_captions_as_its_run_does(workspace):
    batched = caption.run(caption_settings(workspace, *GOOD, max_new_tokens=6))
    assert batched.model == "runs/language"
    alone = caption.run(caption_settings(workspace, *GOOD, max_new_tokens=6, batch_size=1))
    convert(convert_settings(workspace, format="huggingface", verify=False))
    exported = caption.run(caption_settings(workspace, *GOOD, max_new_tokens=6))
    assert exported.model == "export/huggingface"
    for result in (alone, exported):
        assert [line.caption for line in result.captions] == [line.caption for line in batched.captions]


def test_the_kept_ratio_frames_and_slowfast_of_the_call_are_taken(workspace):
    settings = caption_settings(
        workspace, GOOD[0], token_kept_ratio=0.25, frames=3, slowfast=True, max_new_tokens=2, model="runs/projection"
    )
    (line,) = caption.run(settings).captions
    assert (line.frames, line.visual_tokens) == (3, 16 + 2 * 4)


def test_without_a_model_the_message_says_what_to_type(tmp_path):
    shutil.copy(GOLDEN / "pixels" / "images" / "im_50x40.png", tmp_path / "a.png")
    with pytest.raises(DataError, match="no model here") as caught:
        caption.run(caption_settings(tmp_path, "a.png"))
    assert caught.value.hint == "aurora train --stage projection"


def test_a_model_that_is_not_there_is_told_by_a_dry_run_too(workspace):
    with pytest.raises(DataError, match="nothing: there is no such folder or file"):
        caption.run(caption_settings(workspace, GOOD[1], model="nothing"), dry_run=True)


def test_a_file_of_text_is_a_reject_with_a_reason_that_a_person_understands(workspace):
    result = caption.run(caption_settings(workspace, "media/notes.txt", GOOD[1], max_new_tokens=2))
    assert result.rejected == (Uncaptioned("media/notes.txt", "not a readable image: its format is not known"),)
    assert result.exit_code == 3


def test_a_missing_file_is_a_reject_and_the_others_are_captioned(workspace):
    result = caption.run(caption_settings(workspace, "media/nothing.png", GOOD[1], max_new_tokens=2))
    assert [line.media for line in result.captions] == [GOOD[1]]
    assert result.rejected == (Uncaptioned("media/nothing.png", "there is no such file"),)
    assert result.exit_code == 3


@pytest.mark.parametrize("kept", ["media/grey_90x70.png", "media/notes.txt"])
def test_an_output_that_is_no_list_of_captions_is_never_replaced(workspace, kept):
    before = (workspace / kept).read_bytes()
    output = workspace / "kept.jsonl"
    output.write_bytes(before)
    settings = caption_settings(workspace, GOOD[1], output=output)
    for dry_run in (True, False):
        with pytest.raises(UsageError, match="holds something that `aurora caption` did not write"):
            caption.run(settings, dry_run=dry_run)
    assert output.read_bytes() == before


def test_an_output_that_cannot_be_is_told_before_the_model_is_loaded(workspace, monkeypatch):
    monkeypatch.setattr(source, "build_captioner", lambda *_, **__: pytest.fail("it was loaded"))
    with pytest.raises(UsageError, match="is a folder") as caught:
        caption.run(caption_settings(workspace, GOOD[1], output=Path("media")))
    assert caught.value.hint == f"--output {workspace / 'media' / 'captions.jsonl'}"
    with pytest.raises(HostError, match=r"/proc/nothing/c\.jsonl: cannot be written"):
        caption.run(caption_settings(workspace, GOOD[1], output=Path("/proc/nothing/c.jsonl")))


class Heard(Reporter):
    def __init__(self) -> None:
        self.infos: list[str] = []

    def info(self, message: str) -> None:
        self.infos.append(message)


class Warnings(Reporter):
    text = ""

    def warning(self, message: str) -> None:
        self.text += message


@pytest.mark.slow
@pytest.mark.parametrize(("temperature", "is_said"), [(0.0, True), (1.0, False)])
def test_a_share_of_words_that_are_not_drawn_is_a_warning(workspace, temperature, is_said):
    warnings = Warnings()
    caption.run(caption_settings(workspace, GOOD[1], top_p=0.5, temperature=temperature), warnings)
    assert ("--top-p 0.5 changes nothing" in warnings.text) == is_said


def test_a_run_newer_than_the_export_is_a_warning(workspace):
    from aurora_cli.config.workspace import Workspace
    from aurora_cli.runs.find import find_model

    convert(convert_settings(workspace, format="huggingface", verify=False))
    warnings = Warnings()
    find_model(Workspace(workspace), warnings)
    assert warnings.text == ""
    (workspace / "runs" / "language" / "finished.json").touch()
    find_model(Workspace(workspace), warnings)
    assert "runs/language is newer" in warnings.text


def test_media_are_named_by_files_folders_and_patterns_each_once(workspace):
    media = workspace / "media"
    named = list_media(["media/*.png", "media", str(media / "clip.mp4")], workspace)
    assert [medium.name for medium in named] == [
        "media/grey_90x70.png",
        "media/im_120x160.png",
        "media/broken.jpg",
        "media/broken.mp4",
        "media/clip.mp4",
        "media/walk",
    ]
    assert {medium.name for medium in named if medium.kind == "video"} == {
        "media/broken.mp4",
        "media/clip.mp4",
        "media/walk",
    }
    assert [medium.name for medium in list_media(["media/walk/*.png"], workspace)] == [
        f"media/walk/frame_{number}.png" for number in range(3)
    ]


@pytest.mark.parametrize(
    ("media", "message"),
    [
        ((), "no media"),
        (("https://x.org/a.png",), "on the network"),
        (("ftp://x.org/a.png",), "only http and https"),
        (("*.gif",), "no images"),
        (("empty",), "no images"),
    ],
)
def test_what_names_no_media_is_a_usage_error(tmp_path, media, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=message):
        caption.run(caption_settings(tmp_path, *media))


class Terminal(Reporter):
    """Keeps what is shown before the end."""

    def __init__(self) -> None:
        self.lines: list[list[str]] = []
        """Of each line its pieces."""

    def stream_line(self, line: str) -> None:
        self.lines.append([line])

    @contextlib.contextmanager
    def stream_pieces(self, start: str) -> Iterator[WritePiece]:
        self.lines.append([start])
        yield self.lines[-1].append


@pytest.mark.slow
def test_on_a_terminal_one_caption_comes_word_by_word_and_several_line_by_line(workspace):
    terminal = Terminal()
    result = caption.run(caption_settings(workspace, GOOD[1], max_new_tokens=6), terminal)
    assert ["".join(pieces) for pieces in terminal.lines] == result.lines()
    assert len(terminal.lines[0]) > 3
    terminal = Terminal()
    result = caption.run(caption_settings(workspace, *GOOD, max_new_tokens=6), terminal)
    assert terminal.lines == [[line] for line in result.lines()]


def test_with_beams_the_caption_is_shown_whole_and_a_broken_medium_as_a_dash(workspace):
    terminal = Terminal()
    settings = caption_settings(workspace, GOOD[1], BAD[0], batch_size=1, num_beams=2, max_new_tokens=6)
    result = caption.run(settings, terminal)
    assert terminal.lines == [[f"{GOOD[1]}: ", result.captions[0].caption], [f"{BAD[0]}: ", "-"]]


@pytest.mark.slow
def test_captions_in_the_output_are_shown_again(workspace):
    settings = caption_settings(workspace, *GOOD, max_new_tokens=4, output=Path("captions.jsonl"))
    first, terminal = caption.run(settings), Terminal()
    caption.run(settings, terminal)
    assert terminal.lines == [[line] for line in first.lines()[:-1]]


def test_a_caption_with_any_sign_that_ends_a_line_is_found_again(tmp_path):
    made = Caption("a.png", "image", "one\u2028two\x85three\x0cfour\nfive", 1, 8, 3, 4, 0.1)
    CaptionFile(tmp_path / "captions.jsonl", "me").add([made])
    again = CaptionFile(tmp_path / "captions.jsonl", "me")
    assert ([*again.held({key_of(made)})], again.replaced) == ([made], 0)


def test_captions_of_an_earlier_version_are_not_made_again():
    """Lines hold a hash of the model's files and of this text."""
    options = CaptionOptions(
        TokenMerging(kept_ratio=0.5), "vicuna", 8, Sampling("timestamp", 1.0), "p", "c", Decoding(4, 0.0, 1.0, 1, 0)
    )
    assert json.dumps(options.to_json()) == (
        '{"merging": {"kept_ratio": 0.5, "schedule": "exact", "proportional_attention": true, "slowfast": false}, '
        '"template": "vicuna", "frames": 8, "sampling": ["timestamp", 1.0], "prompt": "p", "clip_prompt": "c", '
        '"decoding": {"max_new_tokens": 4, "temperature": 0.0, "top_p": 1.0, "num_beams": 1, "seed": 0}}'
    )


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["huggingface", "xtuner", "official"])
def test_greedy_captions_of_an_export_are_those_of_its_run(workspace, tmp_path, layout):
    def captions(model: str) -> list[tuple[str, str]]:
        settings = caption_settings(workspace, *GOOD, model=model, max_new_tokens=12)
        return [(line.media, line.caption) for line in caption.run(settings).captions]

    output = tmp_path / layout
    settings = convert_settings(workspace, checkpoint="runs/language", output=output, format=layout, verify=False)
    convert(settings)
    expected = captions("runs/language")
    assert all(text for _, text in expected)
    assert captions(str(output)) == expected


@pytest.mark.slow
def test_beams_and_drawing_change_captions_and_a_seed_repeats_them(workspace):
    def captions(**how) -> list[str]:
        return [line.caption for line in caption.run(caption_settings(workspace, *GOOD, **how)).captions]

    greedy = captions(max_new_tokens=8)
    assert captions(max_new_tokens=8, num_beams=3) != greedy
    drawn = captions(max_new_tokens=8, temperature=2.0, top_p=0.9)
    assert drawn != greedy
    assert captions(max_new_tokens=8, temperature=2.0, top_p=0.9) == drawn
    assert captions(max_new_tokens=8, temperature=2.0, top_p=0.9, seed=1) != drawn
    assert captions(max_new_tokens=8, device_map="auto") == greedy


@pytest.fixture
def site(workspace) -> Iterator[str]:
    """A web server with the workspace's media, one of them under another type, a redirect and an endless file."""

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path in ("/file", "/ftp"):
                self.send_response(302)
                self.send_header("Location", f"{self.path[1:]}://localhost/etc/passwd")
                self.end_headers()
            elif self.path == "/endless.png":
                self.send_response(200)
                self.send_header("Content-Type", "image/png")
                self.end_headers()
                with contextlib.suppress(OSError):
                    while True:
                        self.wfile.write(b"x" * 100_000)
            else:
                super().do_GET()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(workspace)))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.slow
def test_media_from_the_network_are_captioned_where_it_is_allowed(workspace, site):
    local = caption.run(caption_settings(workspace, *GOOD[:2], max_new_tokens=4))
    urls = [f"{site}/{name}" for name in GOOD[:2]]
    output = workspace / "captions.jsonl"
    remote = caption.run(caption_settings(workspace, *urls, max_new_tokens=4, allow_remote=True, output=output))
    assert [line.caption for line in remote.captions] == [line.caption for line in local.captions]
    assert [line.media for line in remote.captions] == urls
    assert [line.kind for line in remote.captions] == ["video", "image"]
    again = caption.run(caption_settings(workspace, *urls, max_new_tokens=4, allow_remote=True, output=output))
    assert again.reused == 2


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("media/gone.png", "404"),
        ("media/notes.txt", "is text/plain"),
        ("file", "is not allowed"),
        ("ftp", "unknown url type"),
        ("endless.png", "at most 1,000,000 bytes"),
        ("media/broken.jpg", "not a readable image"),
    ],
)
def test_what_the_network_does_not_give_is_a_reject(workspace, site, name, reason):
    settings = caption_settings(
        workspace, f"{site}/{name}", GOOD[1], allow_remote=True, max_new_tokens=2, max_remote_mb=1.0
    )
    result = caption.run(settings)
    assert [line.media for line in result.captions] == [GOOD[1]]
    assert reason in result.rejected[0].reason
    assert result.exit_code == 3


def test_weights_have_the_type_that_is_asked_for_and_captions_of_another_are_made_anew(workspace: Path) -> None:
    settings = caption_settings(workspace, *GOOD[:2], output=workspace / "captions.jsonl")
    caption.run(settings)
    before = [json.loads(line)["made_by"] for line in (workspace / "captions.jsonl").read_text().splitlines()]
    changes = {"dtype": "bfloat16", "max_new_tokens": 3}
    halves = settings.model_copy(update={"caption": settings.caption.model_copy(update=changes)})
    said = Heard()
    caption.run(halves, said)
    assert any(
        "made anew: decoding.max_new_tokens was 256, is 3; dtype was none, is bfloat16" in each for each in said.infos
    )
    after = [json.loads(line)["made_by"] for line in (workspace / "captions.jsonl").read_text().splitlines()]
    assert len(before) == len(after) == 2
    assert not set(before) & set(after)
    model = str(workspace / "runs" / "language")
    for each, dtype in ((settings, torch.float32), (halves, torch.bfloat16)):
        assert source.CaptionerSource(each, model, SILENT).captioner.model.dtype is dtype
