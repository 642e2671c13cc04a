"""`aurora caption`: everything that can be read gets a caption, once; the rest is listed."""

import contextlib
import functools
import json
import shutil
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from aurora_cli.console import Reporter
from aurora_cli.data.media.listing import list_media
from aurora_cli.demo.dataset import encode_video
from aurora_cli.errors import DataError, HostError, UsageError
from aurora_cli.io.atomic import read_json
from aurora_cli.pipeline.caption import command as caption
from aurora_cli.pipeline.convert.command import run as convert
from tests.captioners import GOLDEN, caption_settings, convert_settings, make_runs


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


@pytest.fixture
def workspace(made, tmp_path) -> Path:
    shutil.copytree(made, tmp_path / "w")
    return tmp_path / "w"


GOOD = ["media/clip.mp4", "media/grey_90x70.png", "media/im_120x160.png", "media/walk"]
BAD = ["media/broken.jpg", "media/broken.mp4"]


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_folder_is_captioned_and_what_is_broken_is_listed(workspace):
    settings = caption_settings(workspace, "media", max_new_tokens=4, output=Path("out/captions.jsonl"))
    assert caption.run(settings, dry_run=True).media == 6
    assert not (workspace / "out").exists()
    result = caption.run(settings)
    assert result.exit_code == 3
    assert sorted(line["media"] for line in result.captions) == GOOD
    assert sorted(line["media"] for line in result.rejected) == BAD
    kinds = {line["media"]: (line["kind"], line["frames"], line["visual_tokens"]) for line in result.captions}
    assert kinds["media/im_120x160.png"] == ("image", 1, 8)
    assert kinds["media/clip.mp4"] == kinds["media/walk"] == ("video", 8, 64)
    assert all(line["new_tokens"] <= 4 for line in result.captions)
    written = lines_of(workspace / "out" / "captions.jsonl")
    assert sorted(line["media"] for line in written) == GOOD
    rejected = lines_of(workspace / "out" / "rejected.jsonl")
    assert sorted(line["media"] for line in rejected) == BAD
    assert all(line["reason"] for line in rejected)
    assert read_json(workspace / "out" / "captions.jsonl.settings.json")["merging"]["kept_ratio"] == 0.5
    assert json.dumps(result.captions)


def test_a_second_call_captions_only_what_is_new_and_a_torn_line_is_made_again(workspace):
    output = workspace / "captions.jsonl"
    first = caption.run(caption_settings(workspace, *GOOD, max_new_tokens=4, output=output))
    assert first.exit_code == 0
    whole = output.read_bytes()
    output.write_bytes(whole[: whole.rindex(b"new_tokens")])
    again = caption.run(caption_settings(workspace, *GOOD, max_new_tokens=4, output=output))
    assert again.reused == 3
    assert [line["caption"] for line in again.captions] == [line["caption"] for line in first.captions]
    assert len(lines_of(output)) == 4
    assert caption.run(caption_settings(workspace, *GOOD, max_new_tokens=4, output=output)).reused == 4


def test_captions_of_another_model_or_other_settings_are_made_anew(workspace):
    output = workspace / "captions.jsonl"
    caption.run(caption_settings(workspace, GOOD[1], max_new_tokens=4, output=output))
    other = caption.run(caption_settings(workspace, GOOD[1], max_new_tokens=2, output=output))
    assert other.reused == 0
    assert [line["new_tokens"] <= 2 for line in lines_of(output)] == [True]


def test_a_batch_says_what_its_media_say_alone_and_the_export_says_what_the_run_does(workspace):
    together = caption.run(caption_settings(workspace, *GOOD, max_new_tokens=6))
    assert together.model == "runs/language"
    alone = caption.run(caption_settings(workspace, *GOOD, max_new_tokens=6, batch_size=1))
    convert(convert_settings(workspace, format="huggingface", verify=False))
    exported = caption.run(caption_settings(workspace, *GOOD, max_new_tokens=6))
    assert exported.model == "export/huggingface"
    for result in (alone, exported):
        assert [line["caption"] for line in result.captions] == [line["caption"] for line in together.captions]


def test_the_kept_ratio_frames_and_slowfast_of_the_call_are_taken(workspace):
    settings = caption_settings(
        workspace, GOOD[0], token_kept_ratio=0.25, frames=3, slowfast=True, max_new_tokens=2, model="runs/projection"
    )
    (line,) = caption.run(settings).captions
    assert (line["frames"], line["visual_tokens"]) == (3, 16 + 2 * 4)


def test_without_a_model_the_message_says_what_to_type(tmp_path):
    shutil.copy(GOLDEN / "pixels" / "images" / "im_50x40.png", tmp_path / "a.png")
    with pytest.raises(DataError, match="no model here") as caught:
        caption.run(caption_settings(tmp_path, "a.png"))
    assert caught.value.hint == "aurora train --stage projection"


def test_a_model_that_is_not_there_is_told_by_a_dry_run_too(workspace):
    with pytest.raises(DataError, match="nothing: there is no such folder or file"):
        caption.run(caption_settings(workspace, GOOD[1], model="nothing"), dry_run=True)


def test_a_missing_file_is_a_reject_and_the_others_are_captioned(workspace):
    result = caption.run(caption_settings(workspace, "media/nothing.png", GOOD[1], max_new_tokens=2))
    assert [line["media"] for line in result.captions] == [GOOD[1]]
    assert result.rejected == ({"media": "media/nothing.png", "reason": "there is no such file"},)
    assert result.exit_code == 3


@pytest.mark.parametrize("kept", ["media/grey_90x70.png", "media/notes.txt"])
def test_an_output_that_is_no_list_of_captions_is_never_replaced(workspace, kept):
    before = (workspace / kept).read_bytes()
    settings = caption_settings(workspace, GOOD[1], output=Path(kept))
    for dry_run in (True, False):
        with pytest.raises(UsageError, match="holds something that `aurora caption` did not write"):
            caption.run(settings, dry_run=dry_run)
    assert (workspace / kept).read_bytes() == before


def test_an_output_that_cannot_be_is_told_before_the_model_is_loaded(workspace, monkeypatch):
    monkeypatch.setattr(caption, "load_captioner", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(UsageError, match="is a folder") as caught:
        caption.run(caption_settings(workspace, GOOD[1], output=Path("media")))
    assert caught.value.hint == f"--output {workspace / 'media' / 'captions.jsonl'}"
    with pytest.raises(HostError, match=r"/proc/nothing/c\.jsonl: cannot be written"):
        caption.run(caption_settings(workspace, GOOD[1], output=Path("/proc/nothing/c.jsonl")))


def test_a_newer_run_than_the_export_is_said(workspace):
    from aurora_cli.config.workspace import Workspace
    from aurora_cli.console import Reporter

    class Heard(Reporter):
        said = ""

        def warning(self, message: str) -> None:
            self.said += message

    convert(convert_settings(workspace, format="huggingface", verify=False))
    heard = Heard()
    caption.find_model(Workspace(workspace), heard)
    assert heard.said == ""
    (workspace / "runs" / "language" / "finished.json").touch()
    caption.find_model(Workspace(workspace), heard)
    assert "runs/language is newer" in heard.said


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


class Heard(Reporter):
    """Somebody who looks on."""

    streams = True

    def __init__(self) -> None:
        self.pieces: list[str] = []

    def stream(self, text: str) -> None:
        self.pieces.append(text)


def test_one_caption_comes_word_by_word_and_several_line_by_line_to_who_looks_on(workspace):
    heard = Heard()
    result = caption.run(caption_settings(workspace, GOOD[1], max_new_tokens=6), heard)
    assert "".join(heard.pieces) == f"{GOOD[1]}: {result.captions[0]['caption']}\n"
    assert len(heard.pieces) > 3
    assert result.lines() == []
    heard = Heard()
    result = caption.run(caption_settings(workspace, *GOOD, max_new_tokens=6), heard)
    assert heard.pieces == [f"{line['media']}: {line['caption']}\n" for line in result.captions]


@pytest.mark.parametrize("layout", ["huggingface", "xtuner", "official"])
def test_greedy_captions_of_an_export_are_those_of_its_run(workspace, tmp_path, layout):
    def say(model: str) -> list[tuple[str, str]]:
        settings = caption_settings(workspace, *GOOD, model=model, max_new_tokens=12)
        return [(line["media"], line["caption"]) for line in caption.run(settings).captions]

    output = tmp_path / layout
    settings = convert_settings(workspace, checkpoint="runs/language", output=output, format=layout, verify=False)
    convert(settings)
    said = say("runs/language")
    assert all(words for _, words in said)
    assert say(str(output)) == said


def test_beams_and_drawing_change_captions_and_a_seed_repeats_them(workspace):
    def say(**how) -> list[str]:
        return [line["caption"] for line in caption.run(caption_settings(workspace, *GOOD, **how)).captions]

    greedy = say(max_new_tokens=8)
    assert say(max_new_tokens=8, num_beams=3) != greedy
    drawn = say(max_new_tokens=8, temperature=2.0, top_p=0.9)
    assert drawn != greedy
    assert say(max_new_tokens=8, temperature=2.0, top_p=0.9) == drawn
    assert say(max_new_tokens=8, temperature=2.0, top_p=0.9, seed=1) != drawn
    assert say(max_new_tokens=8, device_map="auto") == greedy


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


def test_media_from_the_network_are_captioned_where_it_is_allowed(workspace, site):
    here = caption.run(caption_settings(workspace, *GOOD[:2], max_new_tokens=4))
    urls = [f"{site}/{name}" for name in GOOD[:2]]
    output = workspace / "captions.jsonl"
    there = caption.run(caption_settings(workspace, *urls, max_new_tokens=4, allow_remote=True, output=output))
    assert [line["caption"] for line in there.captions] == [line["caption"] for line in here.captions]
    assert [line["media"] for line in there.captions] == urls
    assert [line["kind"] for line in there.captions] == ["video", "image"]
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
    assert [line["media"] for line in result.captions] == [GOOD[1]]
    assert reason in result.rejected[0]["reason"]
    assert result.exit_code == 3
