"""Which frames come out of a video, and that nothing else does: videos of every awkward kind, made with PyAV."""

import math
import random
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_cli.data.media.decoders.sampling import Damaged, Request, Sampling, evenly_spaced, selected_frames
from aurora_cli.data.media.video_process import DecoderError, VideoProcess, decode_video
from tests.videos import TURNS, level, turned, write_sound, write_video

STEADY = range(0, 6000, 100)
VARYING = [*range(0, 600, 100), 1100, 1600, 2100, 2600, 3100]
"""Milliseconds: ten frames a second at first, then two."""


def by_av(request: Request) -> np.ndarray:
    child = VideoProcess("av")
    try:
        return child.frames(request)
    finally:
        child.end()


def levels(frames_FHWC: np.ndarray) -> list[int]:
    """Of each frame, read off its right lower part."""
    _, height, width, _ = frames_FHWC.shape
    return frames_FHWC[:, height * 3 // 4, width * 3 // 4, 1].astype(int).tolist()


def assert_frames(frames_FHWC: np.ndarray, numbers: Sequence[int]) -> None:
    assert levels(frames_FHWC) == pytest.approx([level(number) for number in numbers], abs=7)


DECODERS = pytest.mark.parametrize("decode", [decode_video, by_av])


@pytest.mark.slow
@DECODERS
@pytest.mark.parametrize(
    ("sampling", "numbers"),
    [
        (Sampling("uniform"), [1, 4, 6, 9]),
        (Sampling("timestamp"), [4, 6, 8, 9]),
        (Sampling("fps", 0.5), [5, 5, 8, 8]),
        (Sampling("fps", 30.0), [4, 6, 8, 9]),
    ],
)
def test_frames_of_a_video_of_varying_rate(tmp_path: Path, decode: Any, sampling: Sampling, numbers: list[int]) -> None:
    video = write_video(tmp_path / "varying.mp4", VARYING)
    assert_frames(decode(Request(str(video), 4, 64, sampling)), numbers)


@pytest.mark.slow
@DECODERS
@pytest.mark.parametrize(
    ("span", "numbers"),
    [
        ((0.0, 0.4), [1, 3]),  # 0, 1, 2, 3: the middles of two halves
        ((0.2, 0.6), [3, 5]),
        ((0.2, 2.6), [5, 7]),  # 800 and 2000 ms; 5 is shown until 1100, 7 from 1600, 8 from 2100
        ((0.7, 0.9), [5, 5]),  # no frame begins there, one is shown
        ((2.9, math.inf), [9, 10]),
        ((2.9, 99.0), [9, 10]),  # 9 is shown until 3100, 10 is the last
    ],
)
def test_frames_of_a_span_are_those_that_a_player_shows_within_it(
    tmp_path: Path, decode: Any, span: tuple[float, float], numbers: list[int]
) -> None:
    video = write_video(tmp_path / "varying.mp4", VARYING)
    assert_frames(decode(Request(str(video), 2, 64, span=span)), numbers)


@pytest.mark.slow
@DECODERS
@pytest.mark.parametrize("span", [(3.5, 5.0), (60.0, 70.0), (-2.0, 0.0), (2.0, 2.0), (2.0, 1.0)])
def test_a_span_without_a_frame_is_an_error(tmp_path: Path, decode: Any, span: tuple[float, float]) -> None:
    video = write_video(tmp_path / "varying.mp4", VARYING)  # 3.4 s: the last frame lasts 0.3 s, the median of all
    begin, end = span
    with pytest.raises(DecoderError, match=rf"{begin:g} to {end:g} s holds none of its frames: it is 3.4 s long"):
        decode(Request(str(video), 2, 64, span=span))


@pytest.mark.slow
@DECODERS
@pytest.mark.parametrize(
    "how",
    [
        {"name": "late.mp4"},
        {"name": "early.mp4", "options": {"movflags": "faststart"}},
        {"name": "fragmented.mp4", "options": {"movflags": "frag_keyframe+empty_moov"}},
        {"name": "vp9.webm", "codec": "libvpx-vp9"},
        {"name": "odd.webm", "codec": "libvpx-vp9", "size": (63, 47)},
        {"name": "full.mp4", "pixels": "yuv444p"},
        {"name": "stream.ts"},
        {"name": "mpeg4.avi", "codec": "mpeg4"},
    ],
    ids=lambda how: how["name"],
)
def test_both_decoders_take_the_frames_that_are_asked_for(tmp_path: Path, decode: Any, how: dict[str, Any]) -> None:
    video = write_video(tmp_path / how["name"], range(0, 4000, 100), **how)
    frames = decode(Request(str(video), 5, 640))
    width, height = how.get("size", (64, 48))
    assert frames.shape == (5, height, width, 3)
    assert_frames(frames, [4, 12, 20, 28, 36])
    shrunk = decode(Request(str(video), 5, 32))
    assert shrunk.shape == (5, 24, 32, 3)
    assert_frames(shrunk, [4, 12, 20, 28, 36])


@pytest.mark.slow
@DECODERS
@pytest.mark.parametrize("degrees", TURNS)
def test_a_video_stands_as_the_camera_was_held(tmp_path: Path, decode: Any, degrees: int) -> None:
    video = turned(write_video(tmp_path / "held.mp4", range(0, 1000, 100)), degrees)
    (frame,) = decode(Request(str(video), 1, 64))
    height, width = (48, 64) if degrees == 180 else (64, 48)
    assert frame.shape == (height, width, 3)
    row, column = {90: (0.2, 0.8), 180: (0.8, 0.8), 270: (0.8, 0.2)}[degrees]
    red = frame[int(row * height), int(column * width)].astype(int)
    assert red[0] > 200
    assert red[1] < 60


@pytest.mark.slow
@DECODERS
def test_a_video_of_one_frame_is_that_frame_as_often_as_asked(tmp_path: Path, decode: Any) -> None:
    video = write_video(tmp_path / "one.mp4", [0])
    for rule in ("timestamp", "uniform", "fps"):
        assert_frames(decode(Request(str(video), 3, 64, Sampling(rule))), [0, 0, 0])


@pytest.mark.slow
@DECODERS
@pytest.mark.parametrize("name", ["sound.mp4", "empty.mp4", "text.mp4"])
def test_what_holds_no_image_is_an_error(tmp_path: Path, decode: Any, name: str) -> None:
    video = tmp_path / name
    if name == "sound.mp4":
        write_sound(video)
    else:
        video.write_bytes(b"" if name == "empty.mp4" else b"no video at all" * 50)
    with pytest.raises(DecoderError):
        decode(Request(str(video), 3, 64))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["clip.mp4", "video.webm", "video.avi"])
@pytest.mark.parametrize("share", [0.1, 0.4, 0.6, 0.8])
def test_a_video_that_breaks_off_before_a_wanted_frame_is_an_error(tmp_path: Path, name: str, share: float) -> None:
    """decord alone would open it as a shorter video, and take the wrong frames."""
    codec = {"clip.mp4": "libx264", "video.webm": "libvpx-vp9", "video.avi": "mpeg4"}[name]
    options = {"movflags": "faststart"} if name == "clip.mp4" else {}
    unit = Fraction(1, 10 if name == "video.avi" else 1000)
    video = write_video(tmp_path / name, STEADY, noisy=True, codec=codec, options=options, unit=unit)
    content = video.read_bytes()
    video.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DecoderError):
        decode_video(Request(str(video), 4, 64))


@pytest.mark.slow
def test_a_video_that_breaks_off_after_the_last_wanted_frame_is_read_by_the_second_decoder(tmp_path: Path) -> None:
    video = write_video(tmp_path / "clip.mp4", STEADY, noisy=True, options={"movflags": "faststart"})
    content = video.read_bytes()
    video.write_bytes(content[: int(0.95 * len(content))])
    assert_frames(decode_video(Request(str(video), 4, 64)), [7, 22, 37, 52])
    with pytest.raises(DecoderError, match=r"it breaks off after 5\d of 60 frames"):
        decode_video(Request(str(video), 60, 64))


def test_a_stream_that_begins_in_the_middle_is_read_from_its_first_key_frame(tmp_path: Path) -> None:
    video = write_video(tmp_path / "video.ts", STEADY, noisy=True)
    content = video.read_bytes()
    video.write_bytes(content[len(content) // 3 // 188 * 188 :])
    frames = decode_video(Request(str(video), 4, 64))
    assert frames.shape == (4, 48, 64, 3)
    missing = {level(number) for number in range(20)} - {level(number) for number in range(20, 60)}
    assert not missing & set(levels(frames))


@pytest.mark.slow
@pytest.mark.parametrize("damaged", [12, pytest.param(300, marks=pytest.mark.soak)])
def test_frames_that_the_decoder_made_up_are_not_taken(tmp_path: Path, damaged: int) -> None:
    """A block of a video overwritten, as by a bad disk: an error, or the frames that it had."""
    video = write_video(tmp_path / "clip.mp4", STEADY, noisy=True, options={"movflags": "faststart"})
    whole = decode_video(Request(str(video), 4, 64)).astype(int)
    content, rng = video.read_bytes(), random.Random(0)
    errors = 0
    for _ in range(damaged):
        start = rng.randrange(len(content) // 5, len(content) - 1500)
        block = rng.choice([bytes(1500), rng.randbytes(1500)])
        video.write_bytes(content[:start] + block + content[start + 1500 :])
        try:
            frames = decode_video(Request(str(video), 4, 64)).astype(int)
        except DecoderError:
            errors += 1
        else:
            assert np.abs(frames - whole).max() <= 16  # another decoder's scaling, not another image
    assert errors > 0


@pytest.mark.slow
@given(
    st.lists(st.floats(0.01, 5.0), min_size=1, max_size=60),
    st.integers(1, 40),
    st.sampled_from(["timestamp", "uniform", "fps"]),
    st.floats(0.1, 60.0),
)
def test_any_video_gives_as_many_frames_as_asked_in_order(
    spacings: list[float], frames: int, rule: Any, fps: float
) -> None:
    starts = np.cumsum(spacings)
    chosen = selected_frames(starts, frames, Sampling(rule, fps))
    assert len(chosen) == frames
    assert (np.diff(chosen) >= 0).all()
    assert 0 <= chosen[0] <= chosen[-1] < len(starts)


@given(st.integers(1, 200), st.integers(1, 40), st.floats(1.0, 60.0))
def test_at_a_steady_rate_time_and_number_agree(count: int, frames: int, rate: float) -> None:
    starts = np.arange(count) / rate
    expected = evenly_spaced(count, frames).tolist()
    assert selected_frames(starts, frames, Sampling("timestamp")).tolist() == expected
    assert selected_frames(starts, frames, Sampling("uniform")).tolist() == expected
    assert selected_frames(starts, frames, Sampling("fps", 2 * max(rate, rate * frames))).tolist() == expected


@given(
    st.lists(st.floats(0.01, 5.0), min_size=1, max_size=60),
    st.integers(1, 9),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1.0),
    st.sampled_from(["timestamp", "uniform", "fps"]),
)
def test_no_frame_of_a_span_is_one_that_is_not_shown_in_it(
    lengths: list[float], frames: int, one: float, other: float, rule: Any
) -> None:
    starts = np.concatenate([[0.0], np.cumsum(lengths)]) + 7.0  # as a stream that does not begin at zero
    begin, end = sorted((one * (starts[-1] - 7.0), other * (starts[-1] - 7.0)))
    starts[-1] = max(starts[-1], starts[-2] + (np.median(lengths[:-1]) if len(lengths) > 1 else 0.0))
    shown = [n for n in range(len(lengths)) if starts[n + 1] - 7.0 > begin + 0.001 and starts[n] - 7.0 < end - 0.001]
    if not shown or begin == end:
        with pytest.raises(Damaged):
            selected_frames(starts[:-1], frames, Sampling(rule), (begin, end), starts[-1])
        return
    chosen = selected_frames(starts[:-1], frames, Sampling(rule), (begin, end), starts[-1]).tolist()
    assert len(chosen) == frames
    assert chosen == sorted(chosen)
    assert set(chosen) <= set(shown)


def test_frames_a_second_hold_over_the_whole_video() -> None:
    starts = np.arange(120) / 30  # four seconds
    assert selected_frames(starts, 4, Sampling("fps", 1.0)).tolist() == [15, 45, 75, 105]
    assert selected_frames(starts, 8, Sampling("fps", 1.0)).tolist() == [15, 15, 45, 45, 75, 75, 105, 105]
    assert selected_frames(starts, 2, Sampling("fps", 1.0)).tolist() == [30, 90]
    assert selected_frames(starts, 3, Sampling("fps", 0.01)).tolist() == [60, 60, 60]
