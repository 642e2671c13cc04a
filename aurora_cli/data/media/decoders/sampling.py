"""Which frames of a video are wanted. Times are seconds."""

import sys
from typing import Literal, NamedTuple

import numpy as np

Rule = Literal["timestamp", "uniform", "fps"]


class Sampling(NamedTuple):
    """How the frames of a video are selected, as many as its tokens speak of."""

    rule: Rule = "timestamp"
    fps: float = 1.0
    """Frames a second, for the rule of that name."""


EVENLY_IN_TIME = Sampling()

Span = tuple[float, float]
"""Seconds of a video, from its first shown frame: where a part of it begins and ends."""

ROUNDED_S = 1e-3
"""Times are rounded by as much: Matroska counts milliseconds. A frame that a span holds for less is not in it."""


class VideoLimits(NamedTuple):
    """What a video has at most. It is refused by its head, before a frame is decoded."""

    pixels: int = sys.maxsize
    """Of a frame."""
    frames: int = sys.maxsize

    def check(self, width: int, height: int, frames: int) -> None:
        """
        Raises:
            Damaged: it has more.
        """
        if width * height > self.pixels:
            raise Damaged(f"its frames have {width:,} x {height:,} pixels; at most {self.pixels:,} are taken")
        if frames > self.frames:
            raise Damaged(f"it has more than {self.frames:,} frames, which are taken at most")


NO_LIMITS = VideoLimits()


class Request(NamedTuple):
    """What is wanted of a video. Travels to the child as JSON."""

    path: str
    frames: int
    longest: int
    """Frames are shrunk while decoding to this many pixels on the longer side."""
    sampling: Sampling = EVENLY_IN_TIME
    span: Span | None = None
    """The part of the video that frames are taken from; none: all of it."""
    limits: VideoLimits = NO_LIMITS


class Damaged(Exception):
    """A video that gives no frames, or not the wanted ones; says why."""


def selected_frames(
    starts: np.ndarray, frames: int, sampling: Sampling, span: Span | None = None, end: float = 0.0
) -> np.ndarray:
    """Which frames are taken, ascending; `starts` are seconds, one a frame of the video. Too few frames repeat.

    `uniform` spreads them evenly over the frames' numbers, `timestamp` over the time; at a steady rate these are the
    same. `fps` takes so many a second, evenly over the whole video: at most as many as there are tokens for, and if
    fewer, each is repeated in its place. With a span, only frames that a player shows within it, as if they were the
    whole video. `end`: until when the last frame is shown; it counts where that is longer than frames usually are.

    >>> selected_frames(np.arange(30) / 10, 6, Sampling("fps", fps=1.0))
    array([ 5,  5, 15, 15, 25, 25])
    >>> selected_frames(np.arange(30) / 10, 2, Sampling(), span=(1.0, 2.0))
    array([12, 17])
    >>> selected_frames(np.arange(3), 5, Sampling(), end=5.0)
    array([0, 1, 2, 2, 2])

    Raises:
        Damaged: the span holds no frame.
    """
    edges = np.append(starts, max(end, starts[-1] + spacing(starts))) - starts[0]
    first = 0
    if span is not None:
        first, edges = _within(edges, span)
    if sampling.rule == "uniform":
        return first + evenly_spaced(len(edges) - 1, frames)
    if sampling.rule == "timestamp":
        return first + spread_in_time(edges, frames)
    distinct = min(frames, max(1, round(float(edges[-1] - edges[0]) * sampling.fps)))
    return first + spread_in_time(edges, distinct)[evenly_spaced(distinct, frames)]


def _within(edges: np.ndarray, span: Span) -> tuple[int, np.ndarray]:
    """The first frame that is shown within a span, and the edges of those that are, cut to it.

    Raises:
        Damaged: there is none.
    """
    begin, end = span
    inside = np.flatnonzero((edges[1:] > begin + ROUNDED_S) & (edges[:-1] < end - ROUNDED_S))
    if len(inside) == 0 or begin >= end:
        raise Damaged(f"{begin:g} to {end:g} s holds none of its frames: it is {edges[-1]:.1f} s long")
    first = int(inside[0])
    return first, edges[first : inside[-1] + 2].clip(begin, end)


def spread_in_time(edges: np.ndarray, frames: int) -> np.ndarray:
    """Frame numbers shown at the middles of `frames` equal segments of time; frame i lasts from edge i to edge i + 1.

    With a steady rate these are the frames that `evenly_spaced` names.
    """
    lengths = np.diff(edges)
    if lengths.max() - lengths.min() <= 0.25 * np.median(lengths):
        return evenly_spaced(len(lengths), frames)
    moments = edges[0] + (np.arange(frames) + 0.5) / frames * (edges[-1] - edges[0])
    return (np.searchsorted(edges, moments, side="right") - 1).clip(0, len(lengths) - 1)


def evenly_spaced(count: int, frames: int) -> np.ndarray:
    """The middles of `frames` equal segments of `count` frames; 1 takes the middle, more than there are repeat.

    >>> evenly_spaced(10, 1), evenly_spaced(10, 2), evenly_spaced(2, 4)
    (array([5]), array([2, 7]), array([0, 0, 1, 1]))
    """
    return (np.arange(frames) * 2 + 1) * count // (2 * frames)


def spacing(starts: np.ndarray) -> float:
    """From a frame to the next, as a rule."""
    return max(float(np.median(np.diff(starts))), 1e-6) if len(starts) > 1 else 1e-6
