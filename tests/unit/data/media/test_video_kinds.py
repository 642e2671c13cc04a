"""Any codec in any container, cut, turned, late, of any rate: the frames taken are those that a player shows."""

import os
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from aurora_cli.data.media.decoders.av_frames import av_frames
from aurora_cli.data.media.decoders.decord_frames import NotBelieved
from aurora_cli.data.media.decoders.sampling import Request
from aurora_cli.data.media.video_decoder import by_decord
from aurora_cli.data.media.video_process import decode_video
from tests.numbered_videos import (
    MATRICES,
    Kind,
    add_clean_aperture,
    crop_matroska,
    expected_numbers,
    number_of,
    shown_by_a_player,
    write_changing_size,
    write_numbered,
    write_slides,
    write_two_tracks,
)

CONTAINERS = {
    "libx264": ("mp4", "mov", "mkv", "ts", "avi", "flv", "m4v"),
    "libx265": ("mp4", "mov", "mkv", "ts"),
    "libvpx": ("webm", "mkv"),
    "libvpx-vp9": ("webm", "mkv", "mp4"),
    "libsvtav1": ("mp4", "mkv", "webm"),
    "mpeg4": ("avi", "mp4", "mkv", "mov"),
    "msmpeg4": ("avi",),
    "wmv2": ("wmv", "avi"),
    "mpeg2video": ("mpg", "vob", "ts", "mkv"),
    "mpeg1video": ("mpg",),
    "mjpeg": ("avi", "mov", "mkv"),
    "prores_ks": ("mov",),
    "ffv1": ("mkv",),
    "flv": ("flv",),
}
WITHOUT_B = {"libvpx", "libvpx-vp9", "libsvtav1", "msmpeg4", "wmv2", "mjpeg", "prores_ks", "ffv1", "flv"}
PIXELS = {"mjpeg": "yuvj420p", "prores_ks": "yuv422p10le"}
AS_WRITTEN = ("mpg", "vob")
"""Only rates that the format knows."""


def kinds(count: int, seed: int = 0) -> Iterator[Kind]:
    """Half of them as sets on the hub are: H.264 in MP4; the others of all that can be written."""
    rng = random.Random(seed)
    while count:
        codec = "libx264" if count % 2 else rng.choice(list(CONTAINERS))
        container = "mp4" if count % 2 else rng.choice(CONTAINERS[codec])
        steady = container in ("avi", *AS_WRITTEN) or codec in ("libsvtav1", "flv", "mpeg2video")
        rates = [Fraction(25), Fraction(30000, 1001), Fraction(30), Fraction(24)]
        group = rng.choice([1, 12, 12, 24, 250] if codec != "libsvtav1" else [12, 24, 250])
        yield Kind(
            codec=codec,
            container=container,
            group=group,
            between=0 if codec in WITHOUT_B else rng.choice([0, 2, 3]),
            rate=rng.choice(rates if steady or container in ("ts", "flv") else [*rates, Fraction(10), Fraction(1, 2)]),
            is_varying=not steady and rng.random() < 0.2,
            late=Fraction(2) if container not in ("avi", *AS_WRITTEN) and rng.random() < 0.15 else Fraction(0),
            cut=(1.1, 0.9) if container in ("mp4", "mov") and codec != "libsvtav1" and rng.random() < 0.25 else None,
            matrix=rng.choice(list(MATRICES)) if container in ("mp4", "mov") and rng.random() < 0.3 else "none",
            size=rng.choice([*[(128, 96), (160, 120)] * 4, *([(96, 80), (144, 96)] if codec != "msmpeg4" else [])]),
            pixels=PIXELS.get(codec, "yuv420p"),
            is_open=rng.random() < 0.5,
        )
        count -= 1


def assert_shown(folder: Path, name: str, kind: Kind, frames: int) -> bool:
    """Number, order and colours of the frames; whether decord read them."""
    if kind.cut:
        kind = kind._replace(late=Fraction(0), cut=kind.cut if kind.rate > 1 else (20.0, 60.0))
    path = write_numbered(folder, name, kind)
    shown = shown_by_a_player(path, kind)
    assert shown.numbers == sorted(set(shown.numbers))
    assert kind.cut is not None or shown.numbers == list(range(kind.count))
    images = decode_video(Request(str(path), frames, 10_000))
    wanted = expected_numbers(shown.numbers, kind, frames, shown.last)
    numbers = [number_of(image, kind.matrix) for image in images]
    assert all(number in either for number, either in zip(numbers, wanted, strict=True)), (numbers, wanted)
    for number, image in zip(numbers, images, strict=True):
        reference = shown.images[shown.numbers.index(number)]
        assert image.shape == reference.shape
        assert np.abs(image.astype(int) - reference).mean() < 1
    try:
        by_decord(Request(str(path), frames, 10_000))
    except NotBelieved:
        return False
    return True


@pytest.mark.slow
@pytest.mark.parametrize("count", [28, pytest.param(200, marks=pytest.mark.soak)])
def test_frames_are_those_that_a_player_shows(tmp_path: Path, count: int) -> None:
    rng, fast, ordinary = random.Random(1), 0, 0
    for number, kind in enumerate(kinds(count)):
        print(number, ", ".join(f"{name}={value}" for name, value in kind._asdict().items()))  # shown of a failure
        was_fast = assert_shown(tmp_path, str(number), kind, rng.choice([1, 3, 8, 11]))
        is_ordinary = (kind.codec, kind.container, kind.cut, kind.late, kind.matrix) == (
            "libx264",
            "mp4",
            None,
            0,
            "none",
        )
        assert was_fast or not (is_ordinary and kind.size[0] in (128, 160))  # decord misreads rows of 96 and 144
        fast, ordinary = fast + was_fast, ordinary + is_ordinary
    print(f"{count - fast} of {count} through PyAV; {ordinary} are whole H.264 MP4s from zero")


@pytest.mark.parametrize("decode", [by_decord, av_frames])
@pytest.mark.parametrize("matrix", MATRICES)
def test_a_frame_stands_as_its_matrix_says_in_both_decoders(
    tmp_path: Path, matrix: str, decode: Callable[[Request], np.ndarray]
) -> None:
    kind = Kind(matrix=matrix, count=12, between=0, size=(160, 128))
    path = write_numbered(tmp_path, "turned", kind)
    reference = shown_by_a_player(path, kind).images[6].astype(int)
    (image,) = decode(Request(str(path), 1, 10_000))
    assert image.shape == reference.shape
    assert np.abs(image - reference).mean() < 1
    (small,) = decode(Request(str(path), 1, 80))
    assert small.shape == (reference.shape[0] // 2, reference.shape[1] // 2, 3)
    assert np.abs(small - reference[1::2, 1::2]).mean() < 6


DECODERS = pytest.mark.parametrize("decode", [decode_video, av_frames])
Decode = Callable[[Request], np.ndarray]


def numbers_of(images: np.ndarray) -> list[int]:
    return [number_of(image) for image in images]


@DECODERS
def test_of_two_tracks_the_default_one_is_read(tmp_path: Path, decode: Decode) -> None:
    kinds = [Kind(container="mkv", size=size, count=24, between=0) for size in ((64, 48), (128, 96))]
    for default in (0, 1):
        write_two_tracks(tmp_path / f"{default}.mkv", kinds, default, (200, 0))
        images = decode(Request(str(tmp_path / f"{default}.mkv"), 4, 10_000))
        assert numbers_of(images) == ([203, 209, 215, 221], [3, 9, 15, 21])[default]


@DECODERS
@pytest.mark.parametrize("container", ["mp4", "mov", "mkv"])
def test_the_last_frame_counts_as_long_as_it_is_shown(tmp_path: Path, decode: Decode, container: str) -> None:
    path = tmp_path / f"slides.{container}"
    write_slides(path, (1, 1, 9))
    assert numbers_of(decode(Request(str(path), 11, 10_000))) == [0, 1] + [2] * 9
    images = decode(Request(str(path), 2, 10_000, span=(9.0, 11.0)))
    assert numbers_of(images) == [2, 2]


@DECODERS
@pytest.mark.parametrize(
    ("aspect", "matrix", "longest", "shape"),
    [
        (Fraction(16, 11), "none", 10_000, (96, 186)),  # 128 * 16 / 11 = 186.2
        (Fraction(16, 11), "90", 10_000, (186, 96)),
        (Fraction(1, 2), "none", 10_000, (192, 128)),
        (Fraction(16, 11), "none", 93, (48, 93)),
        (Fraction(1, 2), "270", 96, (64, 96)),
    ],
)
def test_pixels_are_square(
    tmp_path: Path, decode: Decode, aspect: Fraction, matrix: str, longest: int, shape: tuple[int, int]
) -> None:
    kind = Kind(aspect=aspect, matrix=matrix, count=12)
    (image,) = decode(Request(str(write_numbered(tmp_path, "wide", kind)), 1, longest))
    assert image.shape == (*shape, 3)
    assert number_of(image, matrix) == 6


def test_making_a_video_leaves_the_tests_an_ordinary_process(tmp_path: Path) -> None:
    before = os.sched_getscheduler(0)
    write_numbered(tmp_path, "av1", Kind(codec="libsvtav1", container="mp4", count=12, between=0))
    assert os.sched_getscheduler(0) == before


@DECODERS
@pytest.mark.parametrize("container", ["mkv", "mov"])
def test_what_a_container_crops_is_not_seen(tmp_path: Path, decode: Decode, container: str) -> None:
    path = write_numbered(tmp_path, "bordered", Kind(container=container, count=12, between=0))
    whole = shown_by_a_player(path, Kind()).images[6].astype(int)
    if container == "mkv":
        crop_matroska(path)
        inner = whole[16:80, 16:112]
    else:
        add_clean_aperture(path, (128, 96), (32, 16, 16, 0))
        inner = whole[16:96, 32:112]
    (image,) = decode(Request(str(path), 1, 10_000))
    assert image.shape == inner.shape
    assert np.abs(image - inner).mean() < 1
    (small,) = decode(Request(str(path), 1, inner.shape[1] // 2))
    assert small.shape == (inner.shape[0] // 2, inner.shape[1] // 2, 3)
    assert np.abs(small - inner[1::2, 1::2]).mean() < 6


@DECODERS
@pytest.mark.parametrize("codec", ["libvpx", "libvpx-vp9"])
def test_all_frames_have_the_size_of_the_first(tmp_path: Path, decode: Decode, codec: str) -> None:
    write_changing_size(tmp_path / "changing.webm", [(128, 96), (256, 192), (64, 96)], codec)
    images = decode(Request(str(tmp_path / "changing.webm"), 6, 10_000))
    assert images.shape == (6, 96, 128, 3)
    assert numbers_of(images) == [6, 18, 30, 42, 54, 66]


@pytest.mark.slow
def test_videos_can_be_decoded_from_several_threads(tmp_path: Path) -> None:
    paths = []
    for first in range(8):
        path = tmp_path / f"{first}.mp4"
        write_slides(path, [1] * (first + 1))
        paths.append(str(path))
    with ThreadPoolExecutor(4) as pool:
        several = list(pool.map(lambda path: numbers_of(decode_video(Request(path, 9, 10_000)))[-1], paths * 4))
    assert several == list(range(8)) * 4
