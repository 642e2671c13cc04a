"""The process that decodes videos for this one, started at the first video, started anew when a video kills it.

Where decord cannot, or should not be believed, a process with PyAV has the last word on that one video.
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
from pathlib import PurePath

import numpy as np

from aurora_cli.data.media import video_decoder
from aurora_cli.data.media.video_decoder import Request
from aurora_cli.errors import HostError

TIMEOUT_S = 120.0
"""A video that takes longer hangs the decoder."""

ATTEMPTS = 2
"""A crash may come from the video before, whose damage went unnoticed; one more, in a new process, is this one's."""

NOT_FOR_DECORD = frozenset({".avi", ".m2ts", ".mpeg", ".mpg", ".mts", ".ts", ".vob"})
"""Streams without an index, where decord comes out some frames beside the wanted one; and AVI, where it takes the rest
of a file that breaks off for the whole."""

PACKAGES = {"decord": "decord2", "av": "av"}
"""What pip calls the decoders."""


class DecoderError(Exception):
    """No decoder makes the wanted frames of a file; says why."""


class VideoProcess:
    """A child that runs `video_decoder.serve`. Ends with this process, when its stdin closes."""

    def __init__(self, decoder: str) -> None:
        """`decoder`: decord or av."""
        if importlib.util.find_spec(decoder) is None:
            package = PACKAGES[decoder]
            raise HostError(f"videos are read by {decoder}, which is not installed", hint=f"pip install {package}")
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

    def frames(self, request: Request) -> np.ndarray:
        """(F, H, W, 3) uint8.

        Raises:
            DecoderError: the video is damaged.
            EOFError: the child crashed or hung; either way it is gone.
        """
        deadline = time.monotonic() + TIMEOUT_S
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


_children: dict[str, tuple[int, VideoProcess]] = {}
"""By decoder: the child, and the process that started it. After a fork the pipes belong to the other one."""


def decode_video(request: Request) -> np.ndarray:
    """(F, H, W, 3) uint8, safe against what decoders can do to a process. Not for threads at once.

    Raises:
        DecoderError: the video is damaged.
        HostError: a decoder is not installed.
    """
    if PurePath(request.path).suffix.lower() not in NOT_FOR_DECORD:
        with contextlib.suppress(DecoderError):
            return _decode(request, "decord")
    return _decode(request, "av")


def _decode(request: Request, decoder: str) -> np.ndarray:
    reason = ""
    for _ in range(ATTEMPTS):
        if decoder not in _children or _children[decoder][0] != os.getpid():
            _children[decoder] = (os.getpid(), VideoProcess(decoder))
        child = _children[decoder][1]
        try:
            return child.frames(request)
        except EOFError as error:
            reason = str(error) or "the decoder crashed"
            end_child(decoder)
        except BaseException:  # an interrupt leaves half an answer in the pipe, an error a child that has ended
            end_child(decoder)
            raise
    raise DecoderError(reason)


def end_child(decoder: str) -> None:
    _children.pop(decoder)[1].end()


@atexit.register
def end_children() -> None:
    """Those that this process started."""
    for decoder, (parent, _) in list(_children.items()):
        if parent == os.getpid():
            end_child(decoder)
