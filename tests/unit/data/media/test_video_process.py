"""What decord does to its own process - crash, hang - must never reach the process that trains."""

import contextlib
import importlib.util
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from aurora_cli.data.media import video_decoder, video_process
from aurora_cli.data.media.decoders.sampling import Request
from aurora_cli.data.media.video_process import DecoderError
from aurora_cli.errors import HostError
from tests.videos import write_video

pytestmark = pytest.mark.slow


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.mp4", range(0, 1200, 100))


@pytest.fixture
def decoder_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Replaces the decoder by another program, for one test."""

    def replace(program: str) -> None:
        (tmp_path / "decoder.py").write_text(program)
        monkeypatch.setattr(video_decoder, "__file__", str(tmp_path / "decoder.py"))
        video_process.end_children()

    yield replace
    video_process.end_children()


def decode_video(path: str, frames: int, longest: int) -> np.ndarray:
    return video_process.decode_video(Request(path, frames, longest))


def child_pid() -> int:
    return video_process._idle["decord"][-1]._child.pid


def test_one_process_serves_many_videos_and_equals_decoding_here(video: Path) -> None:
    first = decode_video(str(video), 4, 200)
    pid = child_pid()
    assert (decode_video(str(video), 4, 200) == first).all()
    assert child_pid() == pid
    assert (video_decoder.by_decord(Request(str(video), 4, 200)) == first).all()
    assert first.shape == (4, 48, 64, 3)
    assert decode_video(str(video), 2, 32).shape == (2, 24, 32, 3)


def test_a_decoder_that_was_killed_is_started_anew(video: Path) -> None:
    before = decode_video(str(video), 4, 200)
    os.kill(child_pid(), signal.SIGKILL)
    assert (decode_video(str(video), 4, 200) == before).all()


def test_a_decoder_that_reported_damage_is_not_used_again(video: Path, tmp_path: Path) -> None:
    decode_video(str(video), 4, 200)
    pid = child_pid()
    (tmp_path / "bad.mp4").write_bytes(b"damaged")
    with pytest.raises(DecoderError):
        decode_video(str(tmp_path / "bad.mp4"), 4, 200)
    assert decode_video(str(video), 4, 200).shape == (4, 48, 64, 3)
    assert child_pid() != pid


def test_a_video_that_crashes_the_decoder_twice_is_an_error(decoder_script: Callable[[str], None]) -> None:
    decoder_script("import os, sys\nsys.stdin.readline()\nos.abort()\n")
    with pytest.raises(DecoderError, match="the decoder crashed"):
        decode_video("video", 4, 200)


def test_a_crash_that_another_video_caused_is_forgiven(
    decoder_script: Callable[[str], None], video: Path, tmp_path: Path
) -> None:
    crash_once = (
        f"import os, sys\nsys.stdin.readline()\nos.rename({str(tmp_path / 'real.py')!r}, __file__)\nos.abort()\n"
    )
    (tmp_path / "real.py").write_text(Path(video_decoder.__file__).read_text())
    decoder_script(crash_once)
    assert decode_video(str(video), 3, 200).shape == (3, 48, 64, 3)


def test_a_video_that_hangs_the_decoder_is_an_error(
    decoder_script: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video_process, "TIMEOUT_S", 0.3)
    decoder_script("import time\ntime.sleep(60)\n")
    with pytest.raises(DecoderError, match="no answer after 0 s"):
        decode_video("video", 4, 200)
    assert not any(video_process._idle.values())


def test_a_video_that_hangs_decord_alone_is_read_by_pyav(
    decoder_script: Callable[[str], None], video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = decode_video(str(video), 3, 200)
    monkeypatch.setattr(video_process, "FAST_TIMEOUT_S", 0.3)
    real = Path(video_decoder.__file__).read_text()
    decoder_script(
        real.replace(
            "    serve(sys.argv[1])", "    __import__('time').sleep(60 * (sys.argv[1] == 'decord'))\n    serve('av')"
        )
    )
    began = time.monotonic()
    assert (decode_video(str(video), 3, 200) == whole).all()
    assert time.monotonic() - began < 30


def test_without_decord_it_is_the_machine_that_is_wrong_not_the_video(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video_process.end_children()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(HostError, match="decord, which is not installed"):
        decode_video(str(video), 4, 200)


@pytest.mark.parametrize("damaged", [15, pytest.param(1000, marks=pytest.mark.soak)])
def test_no_damage_ends_this_process_or_the_next_video(damaged: int, video: Path, tmp_path: Path) -> None:
    """Damaged videos fail or give frames of the right shape; a sound video after each is read as ever."""
    sound = decode_video(str(video), 4, 200)
    whole, rng = video.read_bytes(), random.Random(0)
    for _ in range(damaged):
        content = bytearray(whole)
        for _ in range(rng.choice([1, 5, 50])):
            content[rng.randrange(len(content))] = rng.randrange(256)
        if rng.random() < 0.3:
            del content[rng.randrange(len(content)) :]
        (tmp_path / "damaged.mp4").write_bytes(content)
        with contextlib.suppress(DecoderError):
            frames = decode_video(str(tmp_path / "damaged.mp4"), 4, 200)
            assert (len(frames), frames.shape[3], frames.dtype) == (4, 3, np.uint8)
        assert (decode_video(str(video), 4, 200) == sound).all()
