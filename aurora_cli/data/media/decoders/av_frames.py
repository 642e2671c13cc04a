"""Frames by PyAV, which looks at every frame that a wanted one is made from, and at what the container says of it.

A frame counts as the wanted one only if its time is that of the wanted one and of no other. Seeking is believed where
all frames from the key frame on come with the times that the container lists; otherwise the video is decoded from its
beginning. Shapes: F frames, H, W their sides. Times are in the stream's units.
"""

import contextlib
import itertools
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from aurora_cli.data.media.decoders.boxes import turn_of
from aurora_cli.data.media.decoders.header import Header, moving_image, read_header
from aurora_cli.data.media.decoders.sampling import Damaged, Request, VideoLimits, selected_frames, spacing


class _Timeline(NamedTuple):
    starts: np.ndarray
    """When the shown frames start, ascending."""
    keys: np.ndarray
    """When key frames start, shown or hidden; empty: seeking is not believed."""
    is_sure: bool
    """Whether every shown frame has a time of its own that was not guessed; else all must be seen to come."""
    end: int
    """Until when the last frame is shown, as far as the container says."""
    missing: int
    """Frames that the container speaks of and does not hold."""


def av_frames(request: Request) -> np.ndarray:
    """(F, H, W, 3) uint8, every one whole: a video that breaks off before a wanted frame is damaged, and so is one
    where the decoder patched a wanted frame, or one that it is predicted from.

    Raises:
        Damaged: it says where.
        av.error.FFmpegError: libav's reasons.
    """
    import av

    with av.open(request.path) as container:
        header = read_header(container, request.path)
        request.limits.check(header.width, header.height, header.frames)
        stream = moving_image(container, request.limits)
        unit_s = float(stream.time_base)
        timeline = _timeline(container, stream, header, request.limits)
    selected = _select(request, timeline, unit_s)
    distinct, positions = np.unique(selected, return_inverse=True)
    if len(timeline.keys):
        try:
            return np.stack(_sought(request, header, timeline, distinct))[positions]
        except LookupError:
            pass
    try:
        return np.stack(_from_beginning(request, header, timeline, distinct))[positions]
    except LookupError:  # what packets say and what comes out differ: decode once to see what comes, then again
        timeline = _decoded_timeline(request, timeline)
    selected = _select(request, timeline, unit_s)
    distinct, positions = np.unique(selected, return_inverse=True)
    return np.stack(_from_beginning(request, header, None, distinct))[positions]


def _select(request: Request, timeline: _Timeline, unit_s: float) -> np.ndarray:
    starts = timeline.starts
    lacking = starts[-1] + spacing(starts) * np.arange(1, timeline.missing + 1)
    every_start = np.concatenate([starts, lacking]) * unit_s
    end = timeline.end * unit_s
    selected = selected_frames(every_start, request.frames, request.sampling, request.span, end)
    if selected[-1] >= len(starts):
        raise Damaged(f"it breaks off after {len(starts)} of {len(every_start)} frames")
    return selected


def _timeline(container: Any, stream: Any, header: Header, limits: VideoLimits) -> _Timeline:
    """From the packets, without decoding.

    Raises:
        Damaged: there is no frame, or there are more than are taken.
    """
    with_content = (packet for packet in container.demux(stream) if packet.size)
    packets = [
        (packet.pts if packet.pts is not None else packet.dts, packet.is_keyframe, packet.is_discard, packet.duration)
        for packet in itertools.islice(with_content, min(limits.frames + 1, sys.maxsize))
    ]
    limits.check(header.width, header.height, len(packets))
    keys = np.sort([start for start, is_key, _, _ in packets if is_key and start is not None])
    if len(keys) == 0:
        raise Damaged("it has no frames")
    shown = [(start, length or 0) for start, _, hidden, length in packets if start is not None and not hidden]
    shown = sorted(frame for frame in shown if frame[0] >= keys[0])
    if not shown:
        raise Damaged("it has no frames")
    starts = np.unique([start for start, _ in shown])
    is_sure = header.is_indexed or ("avi" in header.container and not stream.codec_context.has_b_frames)
    is_sure = is_sure and len(starts) == len(shown)
    end = sum(shown[-1])
    missing = _missing(container, stream, header, starts, end, len(packets))
    return _Timeline(starts, keys if is_sure else keys[:0], is_sure, end, missing)


def _missing(container: Any, stream: Any, header: Header, starts: np.ndarray, end: int, packets: int) -> int:
    if stream.frames and "mp4" in container.format.name:  # others count what they may leave out
        return max(0, stream.frames - packets)
    unit_s = float(stream.time_base)
    if container.format.name == "avi":
        spoken_of = stream.frames * unit_s
    elif stream.duration:
        spoken_of = stream.duration * unit_s
    elif container.duration and len(container.streams) == 1:  # how long its sound lasts says nothing
        spoken_of = container.duration / 1e6
    else:
        return 0
    usual = spacing(starts)
    begin = 0 if header.counts_from_zero else starts[0]
    found = float(max(starts[-1] + usual, end) - min(begin, starts[0])) * unit_s
    return round((spoken_of - found) / (usual * unit_s)) if found < 0.98 * spoken_of else 0


def _sought(request: Request, header: Header, timeline: _Timeline, wanted: np.ndarray) -> list[np.ndarray]:
    """The frames of these numbers, each decoded from the key frame before it.

    Raises:
        LookupError: other frames came than the container lists.
        Damaged: as for `av_frames`.
    """
    import av

    starts, keys = timeline.starts, timeline.keys
    images: list[np.ndarray] = []
    with av.open(request.path) as container:
        stream = moving_image(container, request.limits)
        frames: Iterator[tuple[Any, bool]] = iter(())
        coming = -1
        for number in wanted.tolist():
            key = keys[max(0, np.searchsorted(keys, starts[number], side="right") - 1)]
            first = int(np.searchsorted(starts, key))
            if coming < 0 or first > coming:
                container.seek(int(key), stream=stream)
                frames, coming = _decoded(container, stream), first
            for frame, is_patched in _until_end(frames, len(images), len(wanted)):
                if coming == first and frame.pts is not None and frame.pts < starts[coming]:
                    continue  # of the group before: shown before the key frame, decoded after it
                if frame.pts != starts[coming]:
                    raise LookupError
                coming += 1
                if coming > number:
                    images.append(_pixels(frame, is_patched, header, request))
                    break
    return images


def _from_beginning(
    request: Request, header: Header, timeline: _Timeline | None, wanted: np.ndarray
) -> list[np.ndarray]:
    """The frames of these numbers, as they come.

    Raises:
        LookupError: other frames came than the container lists, by `timeline`.
        Damaged: as for `av_frames`.
    """
    import av

    images: list[np.ndarray] = []
    with av.open(request.path) as container:
        stream = moving_image(container, request.limits)
        frames, coming = _decoded(container, stream), 0
        for number in wanted.tolist():
            for frame, is_patched in _until_end(frames, len(images), len(wanted)):
                if timeline is not None:
                    if coming == 0 and frame.pts is not None and frame.pts < timeline.starts[0]:
                        continue  # made without the key frame that it needs
                    if frame.pts != timeline.starts[coming]:
                        raise LookupError
                coming += 1
                if coming > number:
                    images.append(_pixels(frame, is_patched, header, request))
                    break
        if timeline is not None and not timeline.is_sure:
            rest = [frame.pts for frame in _until_damage(frames)]
            if rest != timeline.starts[coming:].tolist():
                raise LookupError
    return images


def _decoded_timeline(request: Request, listed: _Timeline) -> _Timeline:
    """From the frames that come out. Their times count if they ascend; else the container's, if there are as many;
    else they come at a steady rate.

    Raises:
        Damaged: no frame comes out.
    """
    import av

    with av.open(request.path) as container:
        came = [frame.pts for frame in _until_damage(_decoded(container, moving_image(container, request.limits)))]
    if not came:
        raise Damaged("it has no frames")
    if None not in came and (np.diff(came) > 0).all():
        starts = np.array(came)
    elif len(came) == len(listed.starts):
        starts = listed.starts
    else:
        starts = listed.starts[0] + np.arange(len(came)) * spacing(listed.starts)
    return listed._replace(starts=starts, keys=listed.keys[:0])


def _decoded(container: Any, stream: Any) -> Iterator[tuple[Any, bool]]:
    """Frames, and whether they were made up, or from one that was."""
    is_patched = False
    for frame in container.decode(stream):
        is_patched = (is_patched and not frame.key_frame) or frame.is_corrupt
        yield frame, is_patched


def _until_damage(frames: Iterator[tuple[Any, bool]]) -> Iterator[Any]:
    import av.error

    with contextlib.suppress(av.error.FFmpegError):
        for frame, _ in frames:
            yield frame


def _until_end(frames: Iterator[tuple[Any, bool]], done: int, wanted: int) -> Iterator[tuple[Any, bool]]:
    for found in frames:  # noqa: UP028 - `yield from` would close them with this one
        yield found
    raise Damaged(f"it breaks off at frame {done + 1} of the {wanted} wanted")


def _pixels(frame: Any, is_patched: bool, header: Header, request: Request) -> np.ndarray:
    """(H, W, 3) of one frame as a player shows it: square pixels, upright, shrunk; all of a video of one size."""
    from av.sidedata.sidedata import Type

    if is_patched:
        raise Damaged(f"it is damaged at {frame.time:.1f} s" if frame.time is not None else "it is damaged")
    width, height, border = header.scaled(request.longest)
    if (frame.width, frame.height) == (width, height):
        image = frame.to_ndarray(format="rgb24")
    else:
        image = frame.to_ndarray(format="rgb24", width=width, height=height)
    matrix = frame.side_data.get(Type.DISPLAYMATRIX)
    turn = turn_of(tuple(np.frombuffer(matrix, np.int32).tolist())) if matrix is not None else None
    return header.shown(image, border, turn)
