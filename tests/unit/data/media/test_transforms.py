import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from aurora_cli.data.media import transforms
from aurora_cli.data.media.reader import load_frames
from aurora_cli.data.media.transforms import normalise, padding_colour, square_frames, square_image

GOLDEN = Path(__file__).parents[3] / "golden" / "pixels"
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)


@pytest.mark.parametrize("name", sorted(path.name for path in (GOLDEN / "images").iterdir()))
def test_pixels_equal_the_originals(name: str) -> None:
    expected = load_file(GOLDEN / "expected.safetensors")[name]
    frames = load_frames(GOLDEN / "images" / name, 1, 84, MEAN, STD)
    assert frames.dtype == torch.float32
    torch.testing.assert_close(frames, expected, atol=1e-4, rtol=0)


@pytest.mark.parametrize("size", [(640, 480), (480, 641), (50, 40), (378, 378), (1, 700)])
def test_frames_of_lossy_decoders_are_within_two_levels_of_pillows(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    image = coarse.resize(size, Image.Resampling.BICUBIC)
    fill = padding_colour(MEAN)
    exact = square_image(image, 378, fill).astype(int)
    fast = square_frames(np.asarray(image)[None], 378, fill)[0].astype(int)
    difference = np.abs(exact - fast)
    assert difference.max() <= 2
    assert (difference > 0).mean() < 0.01


@pytest.mark.parametrize(
    "size", [(64, 48), (48, 65), (1, 300), (300, 1), (7, 7), (20, 28), (301, 90), (1, 17), (3, 2_001), (17, 290)]
)
@pytest.mark.parametrize("band_pixels", [1, 700, 1 << 22])
def test_a_square_made_band_by_band_is_the_padded_image_resized_to_the_bit(
    size: tuple[int, int], band_pixels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transforms, "_BAND_PIXELS", band_pixels)
    levels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    levels[::3] = levels[::3] // 128 * 255  # beyond black and white the curve is cut
    image = Image.fromarray(levels)
    padded = Image.new("RGB", (max(size),) * 2, (122, 116, 104))
    padded.paste(image, ((max(size) - size[0]) // 2, (max(size) - size[1]) // 2))
    for side in (5, 28, 200):
        resized = np.asarray(padded.resize((side, side), Image.Resampling.BICUBIC))
        assert np.array_equal(square_image(image, side, (122, 116, 104)), resized)


@pytest.mark.parametrize("size", [(60_000, 2), (2, 5_000), (320, 5_000)])
def test_the_square_of_a_thin_image_is_never_there_whole(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    image, made = Image.new("RGB", size), []
    new = Image.new

    def noted(mode: str, size: tuple[int, int], *rest: transforms.Colour) -> Image.Image:
        made.append(size[0] * size[1])
        return new(mode, size, *rest)

    monkeypatch.setattr(Image, "new", noted)
    assert square_image(image, 28, (0, 0, 0)).shape == (28, 28, 3)
    assert 0 < max(made) <= 1 << 22


def test_padding_is_the_mean_colour_on_both_sides() -> None:
    fill = padding_colour(MEAN)
    wide = square_frames(np.zeros((1, 10, 40, 3), np.uint8), 40, fill)[0]
    assert (wide[:15] == fill).all()
    assert (wide[15:25] == 0).all()
    assert (wide[25:] == fill).all()


def test_normalising_is_level_over_255_minus_mean_over_std() -> None:
    levels = torch.arange(256, dtype=torch.uint8).repeat_interleave(3).reshape(1, 16, 16, 3)
    expected = (levels.permute(0, 3, 1, 2) / 255 - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
    torch.testing.assert_close(normalise(levels, MEAN, STD), expected, atol=1e-6, rtol=0)


def test_a_batch_of_frames_equals_its_frames() -> None:
    rng = np.random.default_rng(1)
    frames = rng.integers(0, 256, (3, 30, 50, 3), dtype=np.uint8)
    together = square_frames(frames, 28, (1, 2, 3))
    alone = [square_frames(frame[None], 28, (1, 2, 3))[0] for frame in frames]
    assert (together == np.stack(alone)).all()


def test_a_saved_image_and_its_bytes_give_the_same(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.effect_noise((64, 48), 80).convert("RGB").save(buffer, "PNG")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    from aurora_cli.data.media.reader import image_pixels

    of_file = image_pixels(tmp_path / "a.png", "a", 32, (0, 0, 0))
    assert (of_file == image_pixels(buffer.getvalue(), "a", 32, (0, 0, 0))).all()
