"""Every row of docs/reference/media.md, made and checked."""

import importlib.util
import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from aurora_cli.data.media.decoders.decord_frames import NotBelieved
from aurora_cli.data.media.decoders.sampling import Request
from aurora_cli.data.media.errors import UnreadableMedia
from aurora_cli.data.media.images import decode_image
from aurora_cli.data.media.listing import list_media
from aurora_cli.data.media.reader import MediaReader, PlainFiles
from aurora_cli.data.media.video_decoder import by_decord
from aurora_cli.data.media.video_process import DecoderError, decode_video
from tests.numbered_videos import (
    Kind,
    add_clean_aperture,
    crop_matroska,
    drawn,
    expected_numbers,
    number_of,
    shown_by_a_player,
    write_changing_size,
    write_numbered,
    write_slides,
    write_two_tracks,
)
from tests.videos import write_sound, write_video

DOCS = Path(__file__).parents[4] / "docs" / "media_kinds.py"
_spec = importlib.util.spec_from_file_location("media_kinds", DOCS)
assert _spec is not None
assert _spec.loader is not None
media_kinds = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(media_kinds)

PLAIN = {
    "h264-mp4": [Kind(), Kind(container="mov"), Kind(container="m4v")],
    "h264-mkv": [Kind(container="mkv")],
    "vp8-webm": [Kind("libvpx", "webm", between=0), Kind("libvpx", "mkv", between=0)],
    "vp9-webm": [Kind("libvpx-vp9", container, between=0) for container in ("webm", "mkv", "mp4")],
    "av1-mp4": [Kind("libsvtav1", "mp4", between=0)],
    "varying": [Kind(is_varying=True), Kind("libvpx-vp9", "webm", between=0, is_varying=True)],
    "turned": [Kind(matrix=matrix, size=(160, 128)) for matrix in ("90", "180", "270")],
    "mirrored": [
        Kind(matrix=matrix, size=(160, 128))
        for matrix in ("mirrored", "upside down", "transposed", "turned and mirrored")
    ],
    "deep": [Kind(pixels="yuv420p10le")],
    "narrow": [Kind(size=(96, 80)), Kind(size=(144, 96))],
    "cut": [Kind(cut=(1.1, 0.9)), Kind(container="mov", group=250, between=0, cut=(1.1, 0.9))],
    "late": [Kind(late=Fraction(2)), Kind(container="mkv", late=Fraction(2))],
    "slow": [Kind(container="mkv", between=0, rate=Fraction(1, 2))],
    "hevc-open-mp4": [Kind("libx265", container, group=24, between=3, is_open=True) for container in ("mp4", "mov")],
    "hevc-open-mkv": [Kind("libx265", "mkv", group=24, between=3, is_open=True)],
    "mpeg4-avi": [Kind("mpeg4", container) for container in ("avi", "mp4", "mkv")],
    "h264-avi": [Kind(container="avi")],
    "mpeg2-mkv": [Kind("mpeg2video", "mkv")],
    "mpeg2-mpg": [Kind("mpeg1video", "mpg"), Kind("mpeg2video", "mpg"), Kind("mpeg2video", "vob")],
    "h264-ts": [Kind(container="ts"), Kind(container="m2ts")],
    "wmv": [Kind("wmv2", "wmv", between=0)],
    "flv": [Kind("flv", "flv", between=0), Kind(container="flv")],
    "mjpeg-avi": [Kind("mjpeg", container, between=0, pixels="yuvj420p") for container in ("avi", "mov")],
    "prores-mov": [Kind("prores_ks", "mov", between=0, pixels="yuv422p10le")],
    "ffv1-mkv": [Kind("ffv1", "mkv", between=0)],
}
"""Rows whose frames are those of the reference, by number, order and colour."""


def request(path: Path, frames: int = 4) -> Request:
    return Request(str(path), frames, 10_000)


def numbers_of(images: np.ndarray) -> list[int]:
    return [number_of(image) for image in images]


def reader_of(path: Path) -> str:
    try:
        by_decord(request(path))
    except NotBelieved:
        return "PyAV"
    return "decord"


def are_rows_padded(path: Path) -> bool:
    """Whether decord takes this video's rows for wider than they are: it hangs on the vectors of the CPU."""
    import decord

    return decord.VideoReader(str(path), num_threads=1)[0].shape[2] != 3


def check_plain(folder: Path, reader: str, key: str) -> None:
    for number, kind in enumerate(PLAIN[key]):
        path = write_numbered(folder, str(number), kind)
        shown = shown_by_a_player(path, kind)
        images = decode_video(request(path))
        numbers = [number_of(image, kind.matrix) for image in images]
        wanted = expected_numbers(shown.numbers, kind, 4, shown.last)
        assert all(found in either for found, either in zip(numbers, wanted, strict=True)), (kind, numbers, wanted)
        for found, image in zip(numbers, images, strict=True):
            reference = shown.images[shown.numbers.index(found)].astype(int)
            assert image.shape == reference.shape
            assert np.abs(image - reference).mean() < 1
        assert reader_of(path) == ("decord" if key == "narrow" and not are_rows_padded(path) else reader)


def check_oblong(folder: Path, reader: str) -> None:
    path = write_numbered(folder, "a", Kind(aspect=Fraction(16, 11)))
    assert decode_video(request(path)).shape == (4, 96, 186, 3)
    assert reader_of(path) == reader


def check_resized(folder: Path, reader: str) -> None:
    write_changing_size(folder / "a.webm", [(128, 96), (256, 192), (64, 96)])
    images = decode_video(request(folder / "a.webm", 6))
    assert images.shape[1:] == (96, 128, 3)
    assert numbers_of(images) == [6, 18, 30, 42, 54, 66]
    assert reader_of(folder / "a.webm") == reader


def check_held(folder: Path, reader: str) -> None:
    write_slides(folder / "a.mp4", (1, 1, 9))
    assert numbers_of(decode_video(request(folder / "a.mp4", 11))) == [0, 1] + [2] * 9
    assert reader_of(folder / "a.mp4") == reader


def check_alpha(folder: Path, reader: str) -> None:
    path = write_numbered(folder, "a", Kind("libvpx-vp9", "webm", between=0, pixels="yuva420p"))
    assert numbers_of(decode_video(request(path))) == [7, 22, 37, 52]
    assert reader_of(path) == reader


def check_hdr(folder: Path, reader: str) -> None:
    """The same levels, whatever transfer the stream names."""
    kinds = [Kind("libx265", "mp4", between=0, pixels="yuv420p10le", transfer=transfer) for transfer in (16, 18, 2)]
    paths = [write_numbered(folder, str(kind.transfer), kind) for kind in kinds]
    pq, hlg, untold = (decode_video(request(path)).astype(int) for path in paths)
    assert numbers_of(pq) == [7, 22, 37, 52]
    assert np.abs(pq - untold).max() <= 2
    assert np.abs(hlg - untold).max() <= 2
    assert {reader_of(path) for path in paths} == {reader}


def check_cropped_mkv(folder: Path, reader: str) -> None:
    path = write_numbered(folder, "a", Kind(container="mkv", between=0))
    crop_matroska(path)
    assert decode_video(request(path)).shape == (4, 64, 96, 3)
    assert reader_of(path) == reader


def check_cropped_mov(folder: Path, reader: str) -> None:
    path = write_numbered(folder, "a", Kind(container="mov", between=0))
    add_clean_aperture(path, (128, 96), (32, 16, 16, 0))
    assert decode_video(request(path)).shape == (4, 80, 80, 3)
    assert reader_of(path) == reader


def check_tracks(folder: Path, reader: str) -> None:
    kinds = [Kind(container="mkv", size=size, count=24, between=0) for size in ((64, 48), (128, 96))]
    write_two_tracks(folder / "a.mkv", kinds, 1, (200, 0))
    assert numbers_of(decode_video(request(folder / "a.mkv"))) == [3, 9, 15, 21]
    assert reader_of(folder / "a.mkv") == reader


def broken(folder: Path, share: float) -> Path:
    path = write_video(folder / "a.mp4", range(0, 6000, 100), noisy=True, options={"movflags": "faststart"})
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    return path


def check_broken_late(folder: Path, reader: str) -> None:
    assert decode_video(request(broken(folder, 0.95))).shape == (4, 48, 64, 3)
    assert reader == "PyAV"


def check_broken_early(folder: Path, reader: str) -> None:
    with pytest.raises(DecoderError):
        decode_video(request(broken(folder, 0.5)))


def check_sound(folder: Path, reader: str) -> None:
    write_sound(folder / "a.mp4")
    with pytest.raises(DecoderError, match="no moving image"):
        decode_video(request(folder / "a.mp4"))


COLOURS = Image.fromarray(drawn(5, (64, 48)))


def read_again(image: Image.Image, kind: str, **options: object) -> np.ndarray:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return np.asarray(decode_image(file.getvalue(), f"a.{kind.lower()}").rgb).astype(int)


def check_jpeg(folder: Path, reader: str) -> None:
    assert np.abs(read_again(COLOURS, "JPEG", quality=95) - np.asarray(COLOURS)).mean() < 3


def check_held_sideways(folder: Path, reader: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    for kind in ("JPEG", "PNG", "WEBP"):
        assert np.abs(read_again(COLOURS, kind, exif=exif) - np.rot90(np.asarray(COLOURS), -1)).mean() < 6


def check_cmyk(folder: Path, reader: str) -> None:
    assert np.abs(read_again(COLOURS.convert("CMYK"), "JPEG", quality=95) - np.asarray(COLOURS)).mean() < 6


def check_deep_grey(folder: Path, reader: str) -> None:
    levels = (np.arange(64 * 48).reshape(48, 64) * 21).astype(np.uint16)
    for kind in ("PNG", "TIFF"):
        assert np.abs(read_again(Image.fromarray(levels), kind)[..., 0] - levels / 257).max() <= 0.5


def check_transparent(folder: Path, reader: str) -> None:
    half = COLOURS.convert("RGBA")
    half.paste((0, 0, 0, 0), (0, 0, 32, 48))
    for kind in ("PNG", "WEBP", "GIF"):
        assert (read_again(half, kind)[:, :30] == 255).all()


def check_keyed(folder: Path, reader: str) -> None:
    """Depths 1 to 16 are in test_reader."""
    assert (read_again(Image.new("L", (4, 4), 7), "PNG", transparency=7) == 255).all()


def check_avif(folder: Path, reader: str) -> None:
    if features.check("avif"):
        assert np.abs(read_again(COLOURS, "AVIF", quality=95) - np.asarray(COLOURS)).mean() < 6


def check_heic(folder: Path, reader: str) -> None:
    if importlib.util.find_spec("pillow_heif") is None:
        with pytest.raises(UnreadableMedia, match="aurora-cli"):
            decode_image(b"", "a.heic")


def moving(folder: Path) -> Path:
    images = [Image.fromarray(drawn(number, (64, 48))) for number in range(4)]
    images[0].save(folder / "a.gif", save_all=True, append_images=images[1:], duration=[100, 100, 100, 700])
    return folder / "a.gif"


def check_gif(folder: Path, reader: str) -> None:
    images = MediaReader(PlainFiles(), 64, (0.5, 0.5, 0.5)).video(str(moving(folder)), 5)
    assert numbers_of(images[:, 8:56]) == [1, 3, 3, 3, 3]


def check_gif_image(folder: Path, reader: str) -> None:
    images = MediaReader(PlainFiles(), 64, (0.5, 0.5, 0.5)).images([str(moving(folder))])
    assert numbers_of(images[:, 8:56]) == [0]


def check_gif_caption(folder: Path, reader: str) -> None:
    assert [medium.kind for medium in list_media([str(moving(folder))], folder)] == ["video"]


def check_frames(folder: Path, reader: str) -> None:
    for number in range(10):
        Image.fromarray(drawn(number, (64, 48))).save(folder / f"frame_{number}.png")
    images = MediaReader(PlainFiles(), 64, (0.5, 0.5, 0.5)).video(str(folder), 5)
    assert numbers_of(images[:, 8:56]) == [1, 3, 5, 7, 9]


def check_broken_image(folder: Path, reader: str) -> None:
    file = io.BytesIO()
    COLOURS.save(file, "PNG")
    with pytest.raises(UnreadableMedia):
        decode_image(file.getvalue()[:-200], "a.png")


def check_vector(folder: Path, reader: str) -> None:
    with pytest.raises(UnreadableMedia, match="its format is not known"):
        decode_image(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a.svg")


ROWS = {row.key: row for row in (*media_kinds.VIDEOS, *media_kinds.IMAGES)}
CHECKS: dict[str, Callable[[Path, str], None]] = {
    name.removeprefix("check_").replace("_", "-"): value
    for name, value in list(globals().items())
    if name.startswith("check_") and name != "check_plain"
}


def test_the_table_and_its_checks_have_the_same_rows() -> None:
    assert set(ROWS) == set(CHECKS) | set(PLAIN)
    assert not set(CHECKS) & set(PLAIN)


@pytest.mark.slow
@pytest.mark.parametrize("key", ROWS)
def test_a_row_of_the_table_of_media_holds(tmp_path: Path, key: str) -> None:
    if key in PLAIN:
        check_plain(tmp_path, ROWS[key].reader, key)
    else:
        CHECKS[key](tmp_path, ROWS[key].reader)
