"""A medium of a request has the pixels that `aurora caption` sees in its file."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from aurora_cli.config.settings import ModelSettings
from aurora_cli.data.media.reader import load_frames
from aurora_cli.demo.dataset import encode_video
from aurora_cli.errors import DataError, UsageError
from aurora_cli.serving.vllm.medium import Medium, are_frames, image_of, video_of

MODEL = ModelSettings(image_size=28)
NOISE = np.random.default_rng(0).integers(0, 256, (6, 40, 64, 3), np.uint8)
FRAMES = [Image.fromarray(frame) for frame in NOISE]


def as_captioned(path: Path | list[Path], frames: int = 3) -> torch.Tensor:
    return load_frames(path, frames, MODEL.image_size, MODEL.image_mean, MODEL.image_std)


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize(
    ("image", "suffix"),
    [
        (FRAMES[0], ".png"),
        (FRAMES[0], ".jpg"),
        (FRAMES[0].resize((320, 200)), ".jpg"),
        (FRAMES[0].convert("RGBA"), ".png"),
        (Image.fromarray(NOISE[0, :, :, 0].astype(np.uint16) * 200), ".png"),
    ],
    ids=["png", "jpeg", "large jpeg", "transparent", "16 bits of grey"],
)
def test_an_image_is_read_from_its_bytes_as_from_its_file(tmp_path: Path, image: Image.Image, suffix: str) -> None:
    file = tmp_path / f"image{suffix}"
    image.save(file, exif=turned())
    assert torch.equal(image_of(file.read_bytes()).pixels(1, MODEL), as_captioned(file))
    assert torch.equal(image_of(file).pixels(1, MODEL), as_captioned(file))


def test_an_image_of_pillow_and_an_array_are_seen_as_a_lossless_file(tmp_path: Path) -> None:
    FRAMES[0].save(tmp_path / "image.png")
    expected = as_captioned(tmp_path / "image.png")
    assert torch.equal(image_of(FRAMES[0]).pixels(1, MODEL), expected)
    assert torch.equal(image_of(NOISE[0]).pixels(1, MODEL), expected)
    assert torch.equal(image_of(torch.from_numpy(NOISE[0])).pixels(1, MODEL), expected)


@pytest.mark.slow
def test_a_video_is_read_from_its_bytes_as_from_its_file(tmp_path: Path) -> None:
    film, animation = tmp_path / "film.mp4", tmp_path / "film.webp"
    film.write_bytes(encode_video(FRAMES))
    FRAMES[0].save(animation, save_all=True, append_images=FRAMES[1:], duration=100, lossless=True)
    for file in (film, animation):
        assert torch.equal(video_of(file.read_bytes()).pixels(4, MODEL), as_captioned(file, 4))


def test_frames_are_spread_as_a_folder_of_them_is(tmp_path: Path) -> None:
    files = [tmp_path / f"frame_{number}.png" for number in range(len(FRAMES))]
    for frame, file in zip(FRAMES, files, strict=True):
        frame.save(file)
    for given in (FRAMES, NOISE, list(NOISE), torch.from_numpy(NOISE)):
        assert torch.equal(video_of(given).pixels(4, MODEL), as_captioned(files, 4))
    assert are_frames(FRAMES)
    assert are_frames(list(NOISE))
    assert not are_frames([FRAMES, FRAMES])
    assert not are_frames([])


def test_a_medium_that_was_parsed_stays_as_it_is() -> None:
    medium = Medium("video", b"x")
    assert video_of(medium) is medium
    assert image_of(medium) is medium


def test_what_is_no_medium_is_refused() -> None:
    with pytest.raises(UsageError, match=r"a video is 'clip\.mp4'; expected"):
        video_of("clip.mp4")
    with pytest.raises(UsageError, match=r"an image is \(2, 2\); expected"):
        image_of(np.zeros((2, 2), np.uint8))
    broken = io.BytesIO()
    FRAMES[0].save(broken, "PNG")
    with pytest.raises(DataError, match="the image: not a readable image"):
        image_of(broken.getvalue()[:300]).pixels(1, MODEL)
