"""How an image or a video looks, in a few bytes: a perceptual hash of its frames, and each frame as 8 x 8 colours.

`imagehash`'s pHash (a cosine transform of 32 x 32 greys, 64 bits) finds what was scaled or compressed again; it sees no
colour, so the colours must agree as well. A frame without anything on it looks like every other, and is not compared.
Shapes: F frames of all media.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from aurora_cli.data.media.images import decode_image
from aurora_cli.data.media.videos import decode_frames

MOST_BITS = 8
"""Of 64, in which hashes of one image may differ."""
MOST_COLOUR = 16.0
"""Levels of 255, by which the colours may differ in the mean."""

FEATURELESS = 4.0
"""Standard deviation of the levels of a frame that shows nothing."""

VIDEO_FRAMES = 3
"""Near a video's beginning, in its middle and near its end."""
_SIDE = 256
_COLOURS = 8


class Frame(NamedTuple):
    """What is kept of a frame."""

    bits: int
    colours: np.ndarray
    """(8, 8, 3) int16."""


def can_look() -> bool:
    """Whether `imagehash` is installed."""
    return importlib.util.find_spec("imagehash") is not None


def image_look(source: Path | bytes, name: str) -> list[Frame]:
    """
    Raises:
        UnreadableMedia: it cannot be read.
    """
    return _look([decode_image(source, name, size=_SIDE).rgb])


def video_look(source: Path | bytes, name: str) -> list[Frame]:
    """
    Raises:
        UnreadableMedia: it cannot be read.
    """
    return _look([Image.fromarray(frame) for frame in decode_frames(source, name, VIDEO_FRAMES, _SIDE)])


def _look(images: Sequence[Image.Image]) -> list[Frame]:
    """The frames that show something."""
    import imagehash

    frames = []
    for image in images:
        small = image.resize((_COLOURS * 4, _COLOURS * 4), Image.Resampling.BOX)
        if np.asarray(small, np.float32).std(axis=(0, 1)).max() < FEATURELESS:
            continue
        bits = imagehash.phash(image).hash.flatten()
        colours = np.asarray(small.resize((_COLOURS, _COLOURS), Image.Resampling.BOX), np.int16)
        frames.append(Frame(int(np.packbits(bits).view(">u8")[0]), colours))
    return frames


class Near:
    """Which of many media another one looks like."""

    def __init__(self, looks: Sequence[Sequence[Frame]]) -> None:
        self._counts = [len(look) for look in looks]
        self._medium_F = np.repeat(np.arange(len(looks)), self._counts)
        self._bits_F = np.array([frame.bits for look in looks for frame in look], dtype=np.uint64)
        self._colours_F = [frame.colours for look in looks for frame in look]

    def like(self, look: Sequence[Frame]) -> list[int]:
        """The media that have two frames of it, or as many as the two have if that is one."""
        found: dict[int, int] = {}
        for frame in look:
            differing_F = np.bitwise_count(self._bits_F ^ np.uint64(frame.bits))
            near = {
                int(self._medium_F[at])
                for at in np.flatnonzero(differing_F <= MOST_BITS)
                if np.abs(self._colours_F[at] - frame.colours).mean() <= MOST_COLOUR
            }
            for medium in near:
                found[medium] = found.get(medium, 0) + 1
        return [medium for medium, frames in found.items() if frames >= min(2, len(look), self._counts[medium])]
