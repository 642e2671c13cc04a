"""The process that decodes videos for this one, started at the first video, started anew when a video kills it.

Where decord fails, or gives no answer, a process with PyAV has the last word on that one video.
"""

import atexit
import contextlib
import importlib.util
import json
import os
import select
import subprocess
import sys
import time
from typing import Any

import numpy as np

from aurora_cli.data.media import video_decoder
from aurora_cli.data.media.decoders.sampling import Request
from aurora_cli.errors import HostError

TIMEOUT_S = 120.0
"""A video that takes longer hangs the decoder."""

FAST_TIMEOUT_S = 10.0
"""decord takes a fraction of a second, or hangs; then PyAV reads the video."""

ATTEMPTS = 2
"""A crash may come from the video before, whose damage went unnoticed; one more, in a new process, is this one's."""

PACKAGES = {"decord": "decord2", "av": "av"}
"""What pip calls the decoders."""


class DecoderError(Exception):
    """No decoder makes the wanted frames of a file; says why."""

    def __init__(self, reason: str, *, last_word: bool = True) -> None:
        super().__init__(reason)
        self.last_word = last_word
        """Whether another decoder would say the same."""


class VideoProcess:
    """A child that runs `video_decoder.serve`. Ends with this process, when its stdin closes."""

    def __init__(self, decoder: str) -> None:
        """`decoder`: decord, which hands over to PyAV what it is not believed about, or av."""
        for needed in (decoder, "av"):
            if importlib.util.find_spec(needed) is None:
                hint = f"pip install {PACKAGES[needed]}"
                raise HostError(f"videos are read by {needed}, which is not installed", hint=hint)
        # A session of its own: Ctrl-C and SIGTERM for the group must not look like broken videos. -P: the script's
        # folder stays off the path, where modules here would hide others'.
        self._child = subprocess.Popen(
            [sys.executable, "-P", video_decoder.__file__, decoder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._requests, self._answers = self._child.stdin, self._child.stdout
        self.parent = os.getpid()
        """After a fork the pipes belong to the other process."""
        self._patience_s = FAST_TIMEOUT_S if decoder == "decord" else TIMEOUT_S

    def frames(self, request: Request) -> np.ndarray:
        """(F, H, W, 3) uint8.

        Raises:
            DecoderError: the video is damaged.
            EOFError: the child crashed; it is gone.
            TimeoutError: the child hangs.
        """
        try:
            self._requests.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError as error:
            raise EOFError from error
        answer = self._answer(min(self._patience_s, TIMEOUT_S))
        if "slow" in answer:
            answer = self._answer(TIMEOUT_S)
        if "error" in answer:
            raise DecoderError(answer["error"], last_word=answer["last_word"])
        pixels = np.empty(answer["shape"], np.uint8)
        self._read_into(pixels.reshape(-1).data, time.monotonic() + TIMEOUT_S)
        return pixels

    def _answer(self, patience_s: float) -> dict[str, Any]:
        deadline = time.monotonic() + patience_s
        line = bytearray()
        while not line.endswith(b"\n"):
            self._read_into(memoryview(piece := bytearray(1)), deadline)
            line += piece
        return json.loads(line)

    def end(self) -> None:
        self._child.kill()
        with contextlib.suppress(OSError):
            self._requests.close()
            self._answers.close()
        self._child.wait()

    def _read_into(self, view: memoryview, deadline: float) -> None:
        done = 0
        while done < len(view):
            ready, _, _ = select.select([self._answers], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError
            got = os.readv(self._answers.fileno(), [view[done:]])
            if got == 0:
                raise EOFError("the decoder crashed")
            done += got


_idle: dict[str, list[VideoProcess]] = {}
"""By decoder: children that wait for a video. Each serves one thread at a time; as many are started as threads decode
at once."""


def decode_video(request: Request) -> np.ndarray:
    """(F, H, W, 3) uint8, safe against what decoders can do to a process, from any thread.

    Raises:
        DecoderError: the video is damaged.
        HostError: a decoder is not installed.
    """
    try:
        return _decode(request, "decord")
    except DecoderError as error:
        if error.last_word:
            raise
    return _decode(request, "av")


def _decode(request: Request, decoder: str) -> np.ndarray:
    is_last = decoder != "decord"
    for _ in range(ATTEMPTS):
        child = _idle_child(decoder) or VideoProcess(decoder)
        try:
            pixels = child.frames(request)
        except TimeoutError as error:
            child.end()
            raise DecoderError(f"no answer after {TIMEOUT_S:.0f} s", last_word=is_last) from error
        except EOFError:
            child.end()
        except BaseException:  # an interrupt leaves half an answer in the pipe, an error a child that has ended
            child.end()
            raise
        else:
            _idle.setdefault(decoder, []).append(child)
            return pixels
    raise DecoderError("the decoder crashed", last_word=is_last)


def _idle_child(decoder: str) -> VideoProcess | None:
    children = _idle.get(decoder, [])
    while children:
        try:
            child = children.pop()
        except IndexError:  # another thread was faster
            return None
        if child.parent == os.getpid():
            return child
    return None


@atexit.register
def end_children() -> None:
    """Those that this process started, and that no thread waits for."""
    for children in _idle.values():
        while children:
            child = children.pop()
            if child.parent == os.getpid():
                child.end()
