"""GIF, WebP, APNG and AVIF of several frames are videos, wherever they are read; of one frame they are images."""

import importlib.util
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from aurora_cli.captioning.inputs import caption_inputs
from aurora_cli.config.settings import ModelSettings
from aurora_cli.data.media.animations import is_animation
from aurora_cli.data.media.check import complaint
from aurora_cli.data.media.decoders.sampling import Sampling
from aurora_cli.data.media.errors import UnreadableMedia
from aurora_cli.data.media.images import decode_image
from aurora_cli.data.media.listing import list_media, passed_over
from aurora_cli.data.media.reader import MediaReader, PlainFiles, load_frames
from aurora_cli.data.media.root import MediaRoot

MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
WITHOUT_AVIF = pytest.mark.skipif(not features.check("avif"), reason="this Pillow has no AVIF")
KINDS = ["gif", "webp", "png", "apng", pytest.param("avif", marks=WITHOUT_AVIF)]


def level(number: int) -> int:
    return 20 + 25 * number


def animate(path: Path, lengths_ms: list[int]) -> Path:
    """Frame i is all of one level."""
    images = [Image.new("RGB", (48, 32), (level(number),) * 3) for number in range(len(lengths_ms))]
    kind = {".apng": "PNG"}.get(path.suffix)
    options = {"lossless": True} if path.suffix == ".webp" else {"quality": 100} if path.suffix == ".avif" else {}
    images[0].save(path, kind, save_all=True, append_images=images[1:], duration=lengths_ms, loop=0, **options)
    return path


def numbers(pixels_FSSC: np.ndarray) -> list[int]:
    middle = pixels_FSSC.shape[1] // 2
    return [round((int(value) - 20) / 25) for value in pixels_FSSC[:, middle, middle, 0]]


@pytest.mark.parametrize("kind", KINDS)
def test_frames_of_an_animation_are_taken_over_its_time(tmp_path: Path, kind: str) -> None:
    path = animate(tmp_path / f"moving.{kind}", [100, 100, 100, 100, 1200])  # 1.6 s; the last is shown from 0.4 s
    reader = MediaReader(MediaRoot(tmp_path), 28, MEAN)
    assert numbers(reader.video(path.name, 4)) == [2, 4, 4, 4]  # at 0.2, 0.6, 1.0, 1.4 s
    assert numbers(reader.video(path.name, 2, span=(0.0, 0.4))) == [1, 3]
    by_number = MediaReader(MediaRoot(tmp_path), 28, MEAN, Sampling("uniform"))
    assert numbers(by_number.video(path.name, 5)) == [0, 1, 2, 3, 4]
    with pytest.raises(UnreadableMedia, match=r"2 to 3 s holds none of its frames: it is 1\.6 s long"):
        reader.video(path.name, 2, span=(2.0, 3.0))


@pytest.mark.parametrize("kind", KINDS)
def test_an_animation_is_captioned_as_a_video(tmp_path: Path, kind: str) -> None:
    moving = animate(tmp_path / f"moving.{kind}", [100, 100, 100, 700])
    still = animate(tmp_path / f"still.{kind}", [100])
    media = list_media([str(tmp_path)], tmp_path)
    assert [(medium.path.name, medium.kind) for medium in media] == [(moving.name, "video"), (still.name, "image")]
    model = ModelSettings(image_size=28, image_mean=MEAN, image_std=STD)
    with Image.open(moving) as opened:
        given = caption_inputs([moving, still, opened])
        assert [each.kind for each in given] == ["video", "image", "video"]
        of_file, of_image = (given[at].frames(5, model, Sampling()) for at in (0, 2))
    assert numbers((of_file.permute(0, 2, 3, 1).numpy() * 127.5 + 127.5).round()) == [1, 3, 3, 3, 3]
    assert (of_file - of_image).abs().max() < 0.02
    assert load_frames(still, 5, 28, MEAN, STD).shape == (1, 3, 28, 28)


@pytest.mark.parametrize("kind", ["png", "apng"])
def test_the_image_that_an_apng_has_for_others_is_no_frame(tmp_path: Path, kind: str) -> None:
    images = [Image.new("RGB", (48, 32), (level(number),) * 3) for number in (7, 0, 1, 2)]
    path = tmp_path / f"moving.{kind}"
    images[0].save(path, "PNG", save_all=True, append_images=images[1:], default_image=True, duration=100)
    assert numbers(MediaReader(PlainFiles(), 28, MEAN).video(str(path), 6)) == [0, 0, 1, 1, 2, 2]
    model = ModelSettings(image_size=28, image_mean=MEAN, image_std=STD)
    with Image.open(path) as opened:
        (given,) = caption_inputs([opened])
        frames = given.frames(6, model, Sampling())
    assert numbers((frames.permute(0, 2, 3, 1).numpy() * 127.5 + 127.5).round()) == [0, 0, 1, 1, 2, 2]


def test_a_delay_of_no_time_counts_as_browsers_count_it(tmp_path: Path) -> None:
    path = animate(tmp_path / "fast.gif", [0, 0, 800])  # 100, 100 and 800 ms
    # at 0.1 s the second begins
    assert numbers(MediaReader(PlainFiles(), 28, MEAN).video(str(path), 5)) == [1, 2, 2, 2, 2]


def test_what_is_damaged_is_no_animation_and_an_error_when_it_is_read(tmp_path: Path) -> None:
    whole = animate(tmp_path / "moving.gif", [100] * 5).read_bytes()
    (tmp_path / "half.gif").write_bytes(whole[:40])
    (tmp_path / "text.gif").write_text("no image")
    for name in ("half.gif", "text.gif", "missing.gif"):
        assert not is_animation(tmp_path / name, name)
    root = MediaRoot(tmp_path)
    assert complaint(root, "moving.gif") is None
    assert complaint(root, "text.gif") == "not a readable image: its format is not known"
    with pytest.raises(UnreadableMedia, match=r"text\.gif: not a readable image"):
        MediaReader(root, 28, MEAN).video("text.gif", 3)


def test_files_of_a_folder_that_are_no_media_are_named(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "deep" / "a.png")
    for name in ("notes.txt", "deep/b.psd", ".hidden"):
        (tmp_path / name).write_text("text")
    assert passed_over([str(tmp_path)], tmp_path) == ["deep/b.psd", "notes.txt"]
    assert passed_over(["deep/a.png", "https://x.org/a"], tmp_path) == []


def test_heic_needs_pillow_heif_and_is_read_with_it() -> None:
    if importlib.util.find_spec("pillow_heif") is None:
        with pytest.raises(UnreadableMedia, match=r"a\.heic: HEIC is read by pillow-heif.*aurora-cli\[heif\]"):
            decode_image(b"", "a.heic")
        return
    import pillow_heif

    file = io.BytesIO()
    pillow_heif.from_pillow(Image.new("RGB", (64, 48), (220, 30, 30))).save(file, quality=95)
    rgb = decode_image(file.getvalue(), "a.heic").rgb
    assert rgb.size == (64, 48)
    assert np.abs(np.asarray(rgb).astype(int) - (220, 30, 30)).max() < 8
