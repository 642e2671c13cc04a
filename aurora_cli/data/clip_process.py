"""The process that decodes clips for this one, started at the first clip, started anew when a clip kills it."""

import atexit
import contextlib
import importlib.util
import json
import os
import select
import subprocess
import sys
import time

import numpy as np

from aurora_cli.data import clip_decoding
from aurora_cli.errors import HostError

TIMEOUT_S = 120.0
"""A clip that takes longer hangs the decoder."""

ATTEMPTS = 2
"""A crash may come from the clip before, whose damage went unnoticed; a second one in a new process is this clip's."""


class DecoderError(Exception):
    """decord cannot make frames of a file; says why."""


class ClipProcess:
    """A child that runs `clip_decoding.serve`. Ends with this process, when its stdin closes."""

    def __init__(self) -> None:
        if importlib.util.find_spec("decord") is None:
            raise HostError("clips are read by decord, which is not installed", hint="pip install decord2")
        # A session of its own: Ctrl-C and SIGTERM for the group must not look like broken clips. -P: the script's
        # folder stays off the path, where modules here would hide others'.
        self._child = subprocess.Popen(
            [sys.executable, "-P", clip_decoding.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,
        )
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._requests, self._answers = self._child.stdin, self._child.stdout

    def frames(self, path: str, frames: int, longest: int) -> np.ndarray:
        """(F, H, W, 3) as `clip_decoding.decode`.

        Raises:
            DecoderError: the clip is damaged.
            EOFError: the child crashed or hung; either way it is gone.
        """
        deadline = time.monotonic() + TIMEOUT_S
        request = {"path": path, "frames": frames, "longest": longest}
        try:
            self._requests.write(json.dumps(request).encode() + b"\n")
        except BrokenPipeError as error:
            raise EOFError from error
        header = bytearray()
        while not header.endswith(b"\n"):
            self._read_into(memoryview(piece := bytearray(1)), deadline)
            header += piece
        answer = json.loads(header)
        if "error" in answer:
            raise DecoderError(answer["error"])
        pixels = np.empty(answer["shape"], np.uint8)
        self._read_into(pixels.reshape(-1).data, deadline)
        return pixels

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
                raise EOFError(f"no answer after {TIMEOUT_S:.0f} s")
            got = os.readv(self._answers.fileno(), [view[done:]])
            if got == 0:
                raise EOFError("the decoder crashed")
            done += got


_current: tuple[int, ClipProcess] | None = None
"""The child, and the process that started it: after a fork the pipes belong to the other one."""


def decode_clip(path: str, frames: int, longest: int) -> np.ndarray:
    """`clip_decoding.decode` in the child, safe against what it can do to a process. Not for threads at once.

    Raises:
        DecoderError: the clip is damaged.
        HostError: decord is not installed.
    """
    global _current
    reason = ""
    for _ in range(ATTEMPTS):
        if _current is None or _current[0] != os.getpid():
            _current = (os.getpid(), ClipProcess())
        child = _current[1]
        try:
            return child.frames(path, frames, longest)
        except EOFError as error:
            reason = str(error) or "the decoder crashed"
            _forget(child)
        except BaseException:  # an interrupt leaves half an answer in the pipe, an error a child that has ended
            _forget(child)
            raise
    raise DecoderError(reason)


def _forget(child: ClipProcess) -> None:
    global _current
    _current = None
    child.end()


@atexit.register
def _end_with_this_process() -> None:
    if _current is not None and _current[0] == os.getpid():
        _forget(_current[1])
