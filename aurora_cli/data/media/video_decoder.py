"""The small program that decodes videos in a process of its own (`video_process`).

decord is the fast way, and read only where it is believed; elsewhere, and where it fails or libav complains while it
works, PyAV has the last word. A damaged video can crash a decoder, not only fail in it, so neither runs inside
training. This file is run as a script.
"""

import contextlib
import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np

if __name__ == "__main__" and (root := str(Path(__file__).parents[3])) not in sys.path:
    sys.path.insert(0, root)  # the package that started this, not another that is installed

from aurora_cli.data.media.decoders.av_frames import av_frames
from aurora_cli.data.media.decoders.decord_frames import NotBelieved, decord_frames
from aurora_cli.data.media.decoders.header import read_header
from aurora_cli.data.media.decoders.sampling import Damaged, Request, Sampling, VideoLimits
from aurora_cli.errors import reason_of


def by_decord(request: Request) -> np.ndarray:
    """(F, H, W, 3) uint8.

    Raises:
        NotBelieved: PyAV must read it.
        Damaged: it is, or is larger than is taken.
        RuntimeError, decord.DECORDError, av.error.FFmpegError: it is damaged.
    """
    import av

    with av.open(request.path) as container:
        header = read_header(container, request.path)
    request.limits.check(header.width, header.height, header.frames)
    return decord_frames(request, header)


def serve(decoder: str) -> None:
    """Answer requests, a JSON line each, until stdin ends or a video is not in order.

    The answer is a JSON line, `{"shape": [...]}` followed by the bytes, or `{"error": "...", "last_word": ...}`; before
    it comes the line `{"slow": true}` when PyAV begins. After an error the process ends: what a decoder did to its
    memory is not known.
    """
    for stop in (signal.SIGINT, signal.SIGTERM):  # the training process decides; it closes stdin
        signal.signal(stop, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    complaints = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
    os.dup2(complaints.fileno(), 2)
    os.dup2(2, 1)  # whatever a library prints must not end up among the answers
    failures = _failures(decoder)
    os.ftruncate(2, 0)
    for line in sys.stdin:
        last_word = decoder != "decord"
        try:
            path, frames, longest, sampling, span, limits = json.loads(line)
            request = Request(path, frames, longest, Sampling(*sampling), span and tuple(span), VideoLimits(*limits))
            pixels = None
            if not last_word:
                with contextlib.suppress(NotBelieved):
                    pixels = by_decord(request)
            if pixels is None:
                last_word = True
                answers.write(json.dumps({"slow": True}).encode() + b"\n")
                answers.flush()
                pixels = av_frames(request)
            elif os.fstat(2).st_size:
                raise Damaged("libav complained")  # and went on with what it made up
        except failures as error:
            answers.write(json.dumps({"error": reason_of(error), "last_word": last_word}).encode() + b"\n")
            break
        answers.write(json.dumps({"shape": pixels.shape}).encode() + b"\n")
        answers.write(np.ascontiguousarray(pixels).data)
        answers.flush()
    answers.flush()


def _failures(decoder: str) -> tuple[type[Exception], ...]:
    """What damage raises. Loads the decoders, and quiets them but for errors of decord's libav."""
    import av.error
    import av.logging

    av.logging.set_level(None)
    failures = (Damaged, av.error.FFmpegError, ValueError, MemoryError)
    if decoder != "decord":
        return failures
    import decord

    decord.logging.set_level(decord.logging.ERROR)
    return (*failures, RuntimeError, decord.DECORDError)


if __name__ == "__main__":
    serve(sys.argv[1])
