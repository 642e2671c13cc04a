"""Frames of a clip file by decord, and the small program that does it in a process of its own (`clip_process`).

A damaged clip can crash decord, not only fail in it, so it never runs inside training. This file is run as a
script, and imports nothing but numpy and decord. Shapes: F frames, H height, W width.
"""

import json
import os
import signal
import sys

import numpy as np


def decode(path: str, frames: int, longest: int) -> np.ndarray:
    """(F, H, W, 3) uint8: frames spread evenly in time, shrunk while decoding to `longest` on the longer side.

    Raises:
        RuntimeError, decord.DECORDError: unrelated classes, both mean "damaged".
    """
    import decord

    reader = decord.VideoReader(path, num_threads=1)
    if len(reader) == 0:
        raise RuntimeError("it has no frames")
    height, width, _ = reader[0].shape
    chosen = spread_in_time(reader.get_frame_timestamp(np.arange(len(reader))), frames)
    share = longest / max(height, width)
    if share < 1:
        size = {"width": max(2, round(width * share)), "height": max(2, round(height * share))}
        reader = decord.VideoReader(path, num_threads=1, **size)
    distinct, places = np.unique(chosen, return_inverse=True)
    return reader.get_batch(distinct.tolist()).asnumpy()[places]


def spread_in_time(timestamps: np.ndarray, frames: int) -> np.ndarray:
    """Frame numbers shown at the middles of `frames` equal stretches of time; `timestamps` are (start, end) rows.

    With a steady rate these are the frames that `evenly_spaced` names.
    """
    starts, ends = timestamps[:, 0], timestamps[:, 1]
    spacing = np.diff(starts)
    if len(spacing) == 0 or spacing.max() - spacing.min() <= 0.25 * max(float(np.median(spacing)), 1e-6):
        return evenly_spaced(len(starts), frames)
    moments = starts[0] + (np.arange(frames) + 0.5) / frames * (ends[-1] - starts[0])
    return (np.searchsorted(starts, moments, side="right") - 1).clip(0, len(starts) - 1)


def evenly_spaced(count: int, frames: int) -> np.ndarray:
    """The middles of `frames` equal stretches of `count` frames; 1 takes the middle, more than there are repeat.

    >>> evenly_spaced(10, 1), evenly_spaced(10, 2), evenly_spaced(2, 4)
    (array([5]), array([2, 7]), array([0, 0, 1, 1]))
    """
    return (np.arange(frames) * 2 + 1) * count // (2 * frames)


def serve() -> None:
    """Answer requests, a JSON line each, until stdin ends or a clip fails.

    The answer is a JSON line, `{"shape": [...]}` followed by the bytes, or `{"error": "..."}`. After an error the
    process ends: what decord did to its memory is not known.
    """
    for stop in (signal.SIGINT, signal.SIGTERM):  # the training process decides; it closes stdin
        signal.signal(stop, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not end up among the answers
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    for line in sys.stdin:
        try:
            frames = decode(**json.loads(line))
        except (RuntimeError, decord.DECORDError) as error:
            reason = (str(error).strip().splitlines() or ["it failed without a word"])[0]
            answers.write(json.dumps({"error": reason}).encode() + b"\n")
            break
        answers.write(json.dumps({"shape": frames.shape}).encode() + b"\n")
        answers.write(frames.data)
        answers.flush()
    answers.flush()


if __name__ == "__main__":
    serve()
