"""What a video's head says: who can be believed about it, and how a player shows its frames. Nothing is decoded."""

from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from aurora_cli.data.media.decoders.boxes import Border, Turn, framing_of
from aurora_cli.data.media.decoders.sampling import NO_LIMITS, Damaged, VideoLimits

BELIEVED = frozenset({"h264", "vp8", "vp9", "av1"})
"""Codecs whose frames decord was seen to number as a player shows them, in the containers below."""

INDEXED = frozenset({"mov", "mp4", "matroska", "webm"})
"""Containers that say of every frame when it is shown, and where its key frame lies (libav's names)."""


class Header(NamedTuple):
    container: frozenset[str]
    """libav's names of the format."""
    codec: str
    width: int
    height: int
    """Of a stored frame, at the beginning."""
    aspect: Fraction
    """Width of a pixel by its height."""
    turn: Turn
    border: Border
    tracks: int
    """Of moving images."""
    hides: bool
    """Whether an edit list hides frames that the file has."""
    frames: int
    """As the container says; 0: it says nothing."""

    @property
    def is_indexed(self) -> bool:
        return bool(self.container & INDEXED)

    @property
    def counts_from_zero(self) -> bool:
        """Whether the container's length is its last time, and not the time from the first to the last."""
        return bool(self.container & {"matroska", "webm", "flv", "asf"})

    @property
    def is_ordinary(self) -> bool:
        """Whether decord is believed; in the end its times must agree."""
        return (
            self.is_indexed
            and self.codec in BELIEVED
            and self.tracks == 1
            and not self.hides
            and not any(self.border)
            and self.width > 0
            and self.height > 0
        )

    def scaled(self, longest: int) -> tuple[int, int, Border]:
        """The size that a stored frame is resized to, and its border then: square pixels, of what is shown the longer
        side at most `longest`."""
        left, top, right, bottom = self.border
        across, down = max(1, self.width - left - right), max(1, self.height - top - bottom)
        wide, high = max(self.aspect, 1), max(1 / self.aspect, 1)
        share = min(Fraction(1), Fraction(longest) / max(across * wide, down * high))
        by_x, by_y = wide * share, high * share
        if by_x == by_y == 1:
            return self.width, self.height, self.border
        border = Border(round(left * by_x), round(top * by_y), round(right * by_x), round(bottom * by_y))
        width = border.left + max(2, round(across * by_x)) + border.right
        return width, border.top + max(2, round(down * by_y)) + border.bottom, border

    def shown(self, image_HWC: np.ndarray, border: Border, turn: Turn | None = None) -> np.ndarray:
        """Of a resized frame what a player shows, upright."""
        height, width, _ = image_HWC.shape
        inner = image_HWC[border.top : height - border.bottom, border.left : width - border.right]
        return (self.turn if turn is None else turn).of(inner)


def read_header(container: Any, path: str) -> Header:
    """Of a container that PyAV has opened.

    Raises:
        Damaged: it has no moving image.
    """
    stream = moving_image(container)
    codec = stream.codec_context
    tracks = sum(not _is_cover(other) for other in container.streams.video)
    turn, border = framing_of(path) if tracks == 1 else (Turn(), Border())
    if border.left + border.right >= codec.width or border.top + border.bottom >= codec.height:
        border = Border()
    aspect = stream.sample_aspect_ratio
    return Header(
        container=frozenset(container.format.name.split(",")),
        codec=codec.codec.canonical_name,
        width=codec.width,
        height=codec.height,
        aspect=Fraction(aspect) if aspect and aspect > 0 else Fraction(1),
        turn=turn,
        border=border,
        tracks=tracks,
        hides="mp4" in container.format.name and any(entry.is_discard for entry in stream.index_entries),
        frames=stream.frames,
    )


def moving_image(container: Any, limits: VideoLimits = NO_LIMITS) -> Any:
    """The video stream that a player shows: the default or else the best one, as libav ranks them; not a cover.

    A frame of more pixels than `limits` is not decoded either: a head may say less, or nothing.

    Raises:
        Damaged: there is none.
    """
    moving = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not moving:
        raise Damaged("it has no moving image")
    best = container.streams.best("video") if len(moving) > 1 else moving[0]
    stream = best if best in moving else moving[0]
    stream.codec_context.thread_count = 1
    if limits.pixels < NO_LIMITS.pixels:
        stream.codec_context.options = {"max_pixels": str(limits.pixels)}
    return stream


def _is_cover(stream: Any) -> bool:
    from av.stream import Disposition

    return bool(stream.disposition & Disposition.attached_pic)
