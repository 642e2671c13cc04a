import io
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from aurora_cli.data.media.decoders.sampling import evenly_spaced
from aurora_cli.data.media.errors import UnreadableMedia
from aurora_cli.data.media.images import decode_image
from aurora_cli.data.media.reader import MediaReader, PlainFiles, image_pixels, load_frames, video_pixels
from aurora_cli.data.media.rgb import as_rgb
from aurora_cli.data.media.transforms import square_frames

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
GREY = (122, 116, 104)
RED, BLUE = (220, 30, 30), (20, 40, 200)

WriteClip = Callable[[Path, Sequence[Image.Image]], None]


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def halves(size: tuple[int, int] = (40, 40)) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", size, BLUE)
    image.paste(RED, (0, 0, size[0] // 2, size[1]))
    return image


def corner(pixels: np.ndarray, row: int, column: int) -> tuple[int, ...]:
    return tuple(pixels[row, column].tolist())


def close(colour: Sequence[int], to: Sequence[int], within: int = 12) -> bool:
    return max(abs(a - b) for a, b in zip(colour, to, strict=True)) <= within


@pytest.mark.parametrize(
    ("orientation", "left_goes"),
    [(1, "left"), (2, "right"), (3, "right"), (4, "left"), (5, "top"), (6, "top"), (7, "bottom"), (8, "bottom")],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_images_stand_as_the_camera_was_held(kind: str, orientation: int, left_goes: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = image_pixels(saved(halves(), kind, exif=exif), "p", 20, GREY)
    place = {"left": (10, 2), "right": (10, 17), "top": (2, 10), "bottom": (17, 10)}[left_goes]
    assert close(corner(pixels, *place), RED)


@pytest.mark.parametrize("size", [(2, 4_000), (4_000, 2)])
def test_the_square_of_a_thin_jpeg_is_never_there_whole(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    content = saved(Image.new("RGB", size, RED), "JPEG", quality=95)
    fast = square_frames(np.asarray(Image.open(io.BytesIO(content)))[None], 28, GREY)[0].astype(int)
    monkeypatch.setattr("aurora_cli.data.media.reader.square_frames", lambda *_: pytest.fail("it was made"))
    assert np.abs(image_pixels(content, "p.jpg", 28, GREY).astype(int) - fast).max() <= 2


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "CMYK", "YCbCr", "HSV", "I;16", "I", "F"])
def test_every_mode_becomes_rgb_of_the_same_brightness(mode: str) -> None:
    if mode in ("I;16", "I"):
        image = Image.fromarray(np.full((8, 8), 51400, np.uint16 if mode == "I;16" else np.int32))
    elif mode == "F":
        image = Image.fromarray(np.full((8, 8), 200 / 255, np.float32))
    else:
        image = Image.new("RGB", (8, 8), (200, 200, 200)).convert(mode)
    rgb = as_rgb(image, GREY)
    assert rgb.mode == "RGB"
    level = {"1": 255, "P": 204}.get(mode, 200)  # two levels, and a palette in steps of 51
    assert close(np.asarray(rgb)[4, 4].tolist(), (level,) * 3, within=1)


def test_transparent_parts_are_white_as_in_transformers_processors() -> None:
    image = Image.new("RGBA", (10, 10), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (0, 0, 5, 10))
    palette = image.quantize(8)
    palette.info["transparency"] = palette.getpixel((8, 5))
    for source in (image, palette):
        pixels = image_pixels(saved(source, "PNG"), "p", 10, GREY)
        assert corner(pixels, 5, 8) == (255, 255, 255)
        assert corner(pixels, 5, 1) == (255, 0, 0)


def keyed_png(depth: int, colour: int, row: bytes, key: bytes) -> bytes:
    """Two pixels in a row; `key` is the level, or the three, that are transparent."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", 2, 1, depth, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"tRNS", key) + chunk(b"IDAT", zlib.compress(b"\0" + row))
    return b"\x89PNG\r\n\x1a\n" + chunks + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("depth", "colour", "row", "key"),
    [
        (1, 0, b"\x40", b"\0\1"),
        (2, 0, b"\x10", b"\0\1"),
        (2, 0, b"\xb0", b"\0\3"),  # the second is 3, the lightest of four
        (4, 0, b"\x01", b"\0\1"),
        (4, 0, b"\x5c", b"\0\x0c"),
        (8, 0, b"\x00\x55", b"\0\x55"),
        (16, 0, struct.pack(">HH", 0, 40000), struct.pack(">H", 40000)),
        (8, 2, bytes([0, 0, 0, 9, 8, 7]), b"\0\t\0\x08\0\x07"),
        (16, 2, struct.pack(">6H", 0, 0, 0, 9000, 8000, 7000), struct.pack(">3H", 9000, 8000, 7000)),
    ],
)
def test_the_level_that_a_png_hides_is_not_seen(depth: int, colour: int, row: bytes, key: bytes) -> None:
    content = keyed_png(depth, colour, row, key)
    rgb = decode_image(content, "keyed").rgb
    assert corner(np.asarray(rgb), 0, 1) == (255, 255, 255)
    assert corner(np.asarray(rgb), 0, 0) != (255, 255, 255)
    if colour == 0:
        with Image.open(io.BytesIO(content)) as image:  # as a caller has it in memory
            image.load()
            assert corner(np.asarray(as_rgb(image, GREY)), 0, 1) == GREY


def test_cmyk_jpeg_is_read_in_its_colours() -> None:
    pixels = image_pixels(saved(halves().convert("CMYK"), "JPEG", quality=95), "p", 20, GREY)
    assert close(corner(pixels, 10, 3), RED, 20)
    assert close(corner(pixels, 10, 16), BLUE, 20)


@pytest.mark.slow
def test_a_huge_jpeg_is_shrunk_while_decoding_and_looks_the_same() -> None:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8))
    image = coarse.resize((1200, 900), Image.Resampling.BICUBIC)
    shrunk = image_pixels(saved(image, "JPEG", quality=95), "p", 84, GREY)
    whole = image_pixels(saved(image, "PNG"), "p", 84, GREY)
    assert np.abs(shrunk.astype(int) - whole).mean() < 2.0


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9])
def test_a_truncated_image_is_an_error_that_names_it(kind: str, share: float) -> None:
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    whole = saved(noise, kind)
    with pytest.raises(UnreadableMedia, match=r"^some/image: not a readable image: "):
        image_pixels(whole[: int(len(whole) * share)], "some/image", 28, GREY)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_of_a_moving_image_the_first_frame_is_taken(kind: str) -> None:
    first, second = Image.new("RGB", (20, 20), RED), Image.new("RGB", (20, 20), BLUE)
    options = {"lossless": True} if kind == "WEBP" else {}
    content = saved(first, kind, save_all=True, append_images=[second], duration=100, **options)
    assert corner(image_pixels(content, "p", 20, GREY), 10, 10) == RED


@pytest.mark.parametrize("mode", ["1", "LA", "I;16", "P"])
def test_pngs_of_every_depth_keep_their_brightness(mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.full((20, 20), 200 * 257, np.uint16))
    else:
        image = Image.new("RGB", (20, 20), (255, 255, 255) if mode == "1" else (204, 204, 204)).convert(mode)
    level = {"1": 255, "I;16": 200}.get(mode, 204)
    assert corner(image_pixels(saved(image, "PNG"), "p", 20, GREY), 10, 10) == (level,) * 3


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (3, 2000)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_thin_and_tiny_images_become_squares(kind: str, size: tuple[int, int]) -> None:
    pixels = image_pixels(saved(Image.new("RGB", size, RED), kind), "p", 28, GREY)
    assert pixels.shape == (28, 28, 3)


@pytest.mark.slow
def test_a_huge_image_without_a_shrinking_decoder_is_read_too() -> None:
    pixels = image_pixels(saved(halves((6000, 4000)), "PNG"), "p", 28, GREY)
    assert corner(pixels, 14, 3) == RED
    assert corner(pixels, 14, 25) == BLUE
    assert corner(pixels, 1, 3) == GREY


@pytest.mark.parametrize("damaged", [40, pytest.param(3000, marks=pytest.mark.soak)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_damage_is_an_error_or_a_image_of_the_right_shape(kind: str, damaged: int) -> None:
    whole, rng = saved(Image.effect_noise((64, 64), 90).convert("RGB"), kind), np.random.default_rng(0)
    for _ in range(damaged):
        content = bytearray(whole)
        for place in rng.integers(0, len(content), rng.choice([1, 5, 50])):
            content[place] = rng.integers(0, 256)
        try:
            pixels = image_pixels(bytes(content), "p", 28, GREY)
        except UnreadableMedia:
            continue
        assert (pixels.shape, pixels.dtype) == ((28, 28, 3), np.uint8)


def test_a_png_whose_pixels_were_overwritten_is_an_error() -> None:
    whole = bytearray(saved(Image.effect_noise((64, 64), 90).convert("RGB"), "PNG"))
    whole[len(whole) // 2 : len(whole) // 2 + 500] = bytes(500)
    with pytest.raises(UnreadableMedia):
        image_pixels(bytes(whole), "p", 28, GREY)


@pytest.mark.parametrize("size", [(1, 70_000), (70_000, 1)])
def test_a_thin_image_is_no_square_of_its_length_in_memory(size: tuple[int, int]) -> None:
    with pytest.raises(UnreadableMedia, match=r"^thin: is [\d,]+ x [\d,]+ pixels; a side has at most 65,535$"):
        image_pixels(saved(Image.new("L", size), "PNG"), "thin", 28, GREY)


@pytest.mark.slow
def test_a_bomb_of_pixels_is_an_error() -> None:
    bomb = saved(Image.new("1", (13500, 13500)), "PNG")
    with pytest.raises(UnreadableMedia, match="decompression bomb"):
        image_pixels(bomb, "bomb", 28, GREY)


def video_of(levels: Sequence[int], size: tuple[int, int] = (64, 48)) -> list[Image.Image]:
    return [Image.new("RGB", size, (level,) * 3) for level in levels]


def test_frames_of_a_video_are_the_evenly_spaced_ones(tmp_path: Path, write_video: WriteClip) -> None:
    write_video(tmp_path / "a.avi", video_of(range(10, 210, 20)))
    pixels = video_pixels(tmp_path / "a.avi", "a.avi", 5, 28, GREY)
    assert pixels.shape == (5, 28, 28, 3)
    assert np.abs(pixels[:, 14, 14, 0].astype(int) - [30, 70, 110, 150, 190]).max() <= 3
    assert np.abs(pixels[:, 0, 14].astype(int) - GREY).max() == 0
    assert (video_pixels((tmp_path / "a.avi").read_bytes(), "a.avi", 5, 28, GREY) == pixels).all()


def test_a_span_of_a_video_is_read_as_if_it_were_all(tmp_path: Path, write_video: WriteClip) -> None:
    write_video(tmp_path / "a.avi", video_of(range(10, 210, 20)))  # one second
    pixels = video_pixels(tmp_path / "a.avi", "a.avi", 2, 28, GREY, span=(0.3, 0.7))
    assert np.abs(pixels[:, 14, 14, 0].astype(int) - [90, 130]).max() <= 3  # 70 to 130, the middles of two halves
    tensor = load_frames(tmp_path / "a.avi", 2, 28, MEAN, STD, span=(0.3, 0.7))
    assert torch.equal(tensor, load_frames(tmp_path / "a.avi", 10, 28, MEAN, STD)[[4, 6]])
    with pytest.raises(UnreadableMedia, match=r"a\.avi: .*3 to 4 s holds none of its frames: it is 1\.0 s long"):
        video_pixels(tmp_path / "a.avi", "a.avi", 2, 28, GREY, span=(3.0, 4.0))


def test_a_folder_of_frames_has_no_spans(tmp_path: Path) -> None:
    halves().save(tmp_path / "frame_1.png")
    with pytest.raises(UnreadableMedia, match="a folder of frames has no times"):
        load_frames(tmp_path, 2, 28, MEAN, STD, span=(0.0, 1.0))


@pytest.mark.slow
def test_a_video_shorter_than_wanted_repeats_frames(tmp_path: Path, write_video: WriteClip) -> None:
    write_video(tmp_path / "a.avi", video_of([50, 150]))
    pixels = video_pixels(tmp_path / "a.avi", "a.avi", 4, 28, GREY)
    assert np.abs(pixels[:, 14, 14, 0].astype(int) - [50, 50, 150, 150]).max() <= 3


def test_a_large_video_is_shrunk_while_decoding_and_looks_the_same(tmp_path: Path, write_video: WriteClip) -> None:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    frame = coarse.resize((640, 480), Image.Resampling.BICUBIC)
    write_video(tmp_path / "a.avi", [frame] * 3)
    pixels = video_pixels(tmp_path / "a.avi", "a.avi", 1, 56, GREY)
    whole = image_pixels(saved(frame, "PNG"), "p", 56, GREY)
    assert np.abs(pixels[0].astype(int) - whole).mean() < 3.0


@pytest.mark.slow
@pytest.mark.parametrize("content", [b"", b"no video at all" * 50])
def test_a_broken_video_is_an_error_that_names_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(UnreadableMedia, match=r"^a.mp4: not a readable video") as raised:
        video_pixels(tmp_path / "a.mp4", "a.mp4", 4, 28, GREY)
    assert "Errno" not in str(raised.value)


def test_load_frames_takes_a_image_a_video_a_folder_and_a_list(tmp_path: Path, write_video: WriteClip) -> None:
    frames = video_of([40, 120, 200], size=(30, 30))
    (tmp_path / "folder").mkdir()
    for number, frame in enumerate(frames):
        frame.save(tmp_path / "folder" / f"{number:03d}.png")
    write_video(tmp_path / "video.avi", frames)
    names = [f"folder/{number:03d}.png" for number in range(3)]

    def load(path: object, count: int) -> torch.Tensor:
        paths = [str(tmp_path / name) for name in path] if isinstance(path, list) else tmp_path / str(path)
        return load_frames(paths, count, 28, MEAN, STD)

    assert load(names[0], 8).shape == (1, 3, 28, 28)
    torch.testing.assert_close(load("folder", 3), load(names, 3))
    torch.testing.assert_close(load("folder", 1)[0], load(names[1], 1)[0])
    torch.testing.assert_close(load("video.avi", 3), load(names, 3), atol=0.06, rtol=0)


def test_missing_media_are_errors_that_name_them(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    reader = MediaReader(PlainFiles(), 28, MEAN)
    with pytest.raises(UnreadableMedia, match=r"none\.png: there is no such file"):
        reader.images([str(tmp_path / "none.png")])
    with pytest.raises(UnreadableMedia, match=r"none\.mp4: there is no such file"):
        reader.video(str(tmp_path / "none.mp4"), 4)
    with pytest.raises(UnreadableMedia, match="empty: a folder without images"):
        reader.video(str(tmp_path / "empty"), 4)


def test_evenly_spaced_frames_cover_each_stretch_once() -> None:
    for count in range(1, 40):
        for frames in range(1, 20):
            chosen = evenly_spaced(count, frames)
            slow = [int((number + 0.5) / frames * count + 1e-9) for number in range(frames)]
            assert chosen.tolist() == slow
