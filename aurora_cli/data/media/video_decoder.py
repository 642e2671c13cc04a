"""Frames of a video file, and the small program that decodes them in a process of its own (`video_process`).

decord is the fast way. Where it fails, or libav complains while it works, PyAV reads the video again and looks at every
frame that a wanted one is made from. A damaged video can crash a decoder, not only fail in it, so neither runs inside
training. This file is run as a script, and imports nothing but numpy and a decoder. Shapes: F frames, H, W their sides.
"""

import json
import os
import signal
import sys
import tempfile
from typing import Any, Literal, NamedTuple

import numpy as np

Rule = Literal["timestamp", "uniform", "fps"]


class Sampling(NamedTuple):
    """How the frames of a video are chosen, as many as its tokens speak of."""

    rule: Rule = "timestamp"
    fps: float = 1.0
    """Frames a second, for the rule of that name."""


EVENLY_IN_TIME = Sampling()

Span = tuple[float, float]
"""Seconds of a video, from its first shown frame: where a part of it begins and ends."""

ROUNDED_S = 1e-3
"""Times are rounded by as much: Matroska counts milliseconds. A frame that a span holds for less is not in it."""


class Request(NamedTuple):
    """What is wanted of a video. Travels to the child as JSON."""

    path: str
    frames: int
    longest: int
    """Frames are shrunk while decoding to this many pixels on the longer side."""
    sampling: Sampling = EVENLY_IN_TIME
    span: Span | None = None
    """The part of the video that frames are taken from; none: all of it."""


class Damaged(Exception):
    """A video that gives no frames, or not the wanted ones; says why."""


def by_decord(request: Request) -> np.ndarray:
    """(F, H, W, 3) uint8.

    Raises:
        RuntimeError, decord.DECORDError: unrelated classes, both mean "damaged".
    """
    import decord

    reader = decord.VideoReader(request.path, num_threads=1)
    if len(reader) == 0:
        raise Damaged("it has no frames")
    times = reader.get_frame_timestamp(np.arange(len(reader)))
    chosen = chosen_frames(times[:, 0], request.frames, request.sampling, request.span, times[-1, 1])
    height, width, _ = reader[0].shape
    share = request.longest / max(height, width)
    if share < 1:
        size = {"width": max(2, round(width * share)), "height": max(2, round(height * share))}
        reader = decord.VideoReader(request.path, num_threads=1, **size)
    distinct, places = np.unique(chosen, return_inverse=True)
    return reader.get_batch(distinct.tolist()).asnumpy()[places]


def by_av(request: Request) -> np.ndarray:
    """(F, H, W, 3) uint8, every one whole: a video that breaks off before a wanted frame is damaged, and so is one
    where the decoder patched a wanted frame, or one that it is predicted from.

    Raises:
        Damaged: it says where.
        av.error.FFmpegError: libav's reasons.
    """
    import av

    with av.open(request.path) as container:
        stream = _moving_image(container)
        seconds = float(stream.time_base)
        starts, keys = _timeline(container, stream)
        spacing = _spacing(starts)
        missing = _missing(container, stream, starts, spacing)
    all_starts = np.concatenate([starts, starts[-1] + spacing * np.arange(1, missing + 1)])
    chosen = chosen_frames(all_starts * seconds, request.frames, request.sampling, request.span)
    if chosen[-1] >= len(starts):
        raise Damaged(f"it breaks off after {len(starts)} of {len(all_starts)} frames")
    distinct, places = np.unique(chosen, return_inverse=True)
    try:
        images = _images(request, starts[distinct], keys)
    except LookupError:
        images = _images(request, starts[distinct], keys[:0])
    return np.stack(images)[places]


def chosen_frames(
    starts: np.ndarray, frames: int, sampling: Sampling, span: Span | None = None, end: float = 0.0
) -> np.ndarray:
    """Which frames are taken, ascending; `starts` are seconds, one a frame of the video. Too few frames repeat.

    `uniform` spreads them evenly over the frames' numbers, `timestamp` over the time; at a steady rate these are the
    same. `fps` takes so many a second, evenly over the whole video: at most as many as there are tokens for, and if
    fewer, each is repeated in its place. With a span, only frames that a player shows within it, as if they were the
    whole video. `end`: until when the last frame is shown; it counts where that is longer than frames usually are.

    >>> chosen_frames(np.arange(30) / 10, 6, Sampling("fps", fps=1.0))
    array([ 5,  5, 15, 15, 25, 25])
    >>> chosen_frames(np.arange(30) / 10, 2, Sampling(), span=(1.0, 2.0))
    array([12, 17])
    >>> chosen_frames(np.arange(3), 5, Sampling(), end=5.0)
    array([0, 1, 2, 2, 2])

    Raises:
        Damaged: the span holds no frame.
    """
    edges = np.append(starts, max(end, starts[-1] + _spacing(starts))) - starts[0]
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


def _spacing(starts: np.ndarray) -> float:
    """From a frame to the next, as a rule."""
    return max(float(np.median(np.diff(starts))), 1e-6) if len(starts) > 1 else 1e-6


def _moving_image(container: Any) -> Any:
    """The first video stream that is not the cover beside some music.

    Raises:
        Damaged: there is none.
    """
    from av.stream import Disposition

    for stream in container.streams.video:
        if not stream.disposition & Disposition.attached_pic:
            stream.codec_context.thread_count = 1
            return stream
    raise Damaged("it has no moving image")


def _timeline(container: Any, stream: Any) -> tuple[np.ndarray, np.ndarray]:
    """When the frames start, in the stream's units, from the first that can be decoded; and those of the key frames.

    Raises:
        Damaged: there is no frame.
    """
    packets = [(packet.pts if packet.pts is not None else packet.dts, packet.is_keyframe, packet.is_discard)
               for packet in container.demux(stream) if packet.size]  # fmt: skip
    keys = np.sort([start for start, is_key, _ in packets if is_key and start is not None])
    if len(keys) == 0:
        raise Damaged("it has no frames")
    starts = np.unique([start for start, _, hidden in packets if start is not None and not hidden])
    starts = starts[starts >= keys[0]]
    if len(starts) == 0:
        raise Damaged("it has no frames")
    return starts, keys


def _missing(container: Any, stream: Any, starts: np.ndarray, spacing: float) -> int:
    """Frames that the file speaks of and does not hold."""
    if stream.frames and "mp4" in container.format.name:  # others count what they may leave out
        return max(0, stream.frames - len(starts))
    seconds = float(stream.time_base)
    if container.format.name == "avi":
        spoken_of = stream.frames * seconds
    elif stream.duration:
        spoken_of = stream.duration * seconds
    elif container.duration and len(container.streams) == 1:  # how long its sound lasts says nothing
        spoken_of = container.duration / 1e6
    else:
        return 0
    found = float(starts[-1] - starts[0] + spacing) * seconds
    return round((spoken_of - found) / (spacing * seconds)) if found < 0.98 * spoken_of else 0


def _images(request: Request, wanted: np.ndarray, keys: np.ndarray) -> list[np.ndarray]:
    """The frames that start at `wanted`, upright: each decoded from the key frame before it, or without `keys` from
    the video's beginning.

    Raises:
        LookupError: seeking led past a wanted frame, as it may in a stream without an index.
    """
    import av

    images: list[np.ndarray] = []
    with av.open(request.path) as container:
        stream = _moving_image(container)
        frames, reached, patched = container.decode(stream), None, False
        for start in wanted.tolist():
            key = keys[max(0, np.searchsorted(keys, start, side="right") - 1)] if len(keys) else None
            sought = False
            if key is not None and (reached is None or key > reached):
                sought = True
                container.seek(int(key), stream=stream)
                frames, patched = container.decode(stream), False
            for frame in frames:
                patched = (patched and not frame.key_frame) or frame.is_corrupt
                reached = frame.pts if frame.pts is not None else reached
                if sought and reached is not None and reached > start:
                    raise LookupError
                sought = False
                if reached is not None and reached >= start:
                    break
            else:
                raise Damaged(f"it breaks off at frame {len(images) + 1} of the {len(wanted)} wanted")
            if patched:
                raise Damaged(f"it is damaged at {float(start * stream.time_base):.1f} s")
            images.append(_pixels(frame, request.longest))
    return images


def _pixels(frame: Any, longest: int) -> np.ndarray:
    """(H, W, 3) of one frame, shrunk and upright."""
    share = min(1.0, longest / max(frame.height, frame.width))
    width, height = (max(2, round(side * share)) for side in (frame.width, frame.height)) if share < 1 else (None, None)
    return np.rot90(frame.to_ndarray(format="rgb24", width=width, height=height), frame.rotation // 90 % 4)


def serve(decoder: str) -> None:
    """Answer requests, a JSON line each, until stdin ends or a video is not in order.

    The answer is a JSON line, `{"shape": [...]}` followed by the bytes, or `{"error": "..."}`. After an error the
    process ends: what a decoder did to its memory is not known.
    """
    for stop in (signal.SIGINT, signal.SIGTERM):  # the training process decides; it closes stdin
        signal.signal(stop, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "wb")
    complaints = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process
    os.dup2(complaints.fileno(), 2)
    os.dup2(2, 1)  # whatever a library prints must not end up among the answers
    decode, failures = _decoder(decoder)
    os.ftruncate(2, 0)
    for line in sys.stdin:
        try:
            path, frames, longest, sampling, span = json.loads(line)
            pixels = decode(Request(path, frames, longest, Sampling(*sampling), span and tuple(span)))
            if decoder == "decord" and os.fstat(2).st_size:
                raise Damaged("libav complained")  # and went on with what it made up
        except failures as error:
            reason = (str(error).strip().splitlines() or ["it failed without a word"])[0]
            answers.write(json.dumps({"error": reason}).encode() + b"\n")
            break
        answers.write(json.dumps({"shape": pixels.shape}).encode() + b"\n")
        answers.write(np.ascontiguousarray(pixels).data)
        answers.flush()
    answers.flush()


def _decoder(name: str) -> tuple[Any, tuple[type[Exception], ...]]:
    """The function, and what it raises for damage."""
    if name == "decord":
        import decord

        decord.logging.set_level(decord.logging.ERROR)
        return by_decord, (Damaged, RuntimeError, decord.DECORDError)
    import av.error
    import av.logging

    av.logging.set_level(None)
    return by_av, (Damaged, av.error.FFmpegError, ValueError)


if __name__ == "__main__":
    serve(sys.argv[1])
