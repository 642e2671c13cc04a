"""Small images of a row's media for a report, read the way training reads them: what fails there fails here."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aurora_cli.data.media.errors import MissingMedia
from aurora_cli.data.media.root import MediaRoot
from aurora_cli.data.token_store.store import Row
from aurora_cli.errors import AuroraError
from aurora_cli.io.data_uri import shown

if TYPE_CHECKING:
    from aurora_cli.data.media.reader import MediaReader

SIDE = 288
"""Pixels; shown at half of it, so that it is sharp on fine displays."""

QUALITY = 80
IMAGES = 8
"""Images of a row that are shown, and the rest is named."""
VIDEO_FRAMES = 4
MAX_BYTES = 12 << 20
"""Of all thumbnails of a report: it opens at once everywhere, and can be mailed."""


class Thumbnail(NamedTuple):
    """One image, or one frame of a video."""

    name: str
    jpeg: bytes | None
    reason: str = ""
    """Why there is no image."""
    unreadable: bool = False


class Thumbnails:
    """Makes thumbnails until `MAX_BYTES` are used up."""

    def __init__(self, mean: Sequence[float]) -> None:
        self.mean = mean
        self.bytes_left = MAX_BYTES

    def of(self, row: Row, root: Path) -> list[Thumbnail]:
        """Of the first images of a row, or of frames spread over its video."""
        from aurora_cli.data.media.reader import MediaReader

        reader = MediaReader(MediaRoot(root), SIDE, self.mean)
        if row.video is not None:
            return self.video(reader, row.video, row.span)
        names = row.image or []
        if len(row.media_lengths) == 1 and len(names) > VIDEO_FRAMES:
            names = [names[index * len(names) // VIDEO_FRAMES] for index in range(VIDEO_FRAMES)]
        return [self.image(reader, name) for name in names[:IMAGES]]

    def video(self, reader: "MediaReader", name: str, span: tuple[float, float] | None) -> list[Thumbnail]:
        if self.bytes_left <= 0:
            return [no_room(name)]
        try:
            pixels = reader.video(name, VIDEO_FRAMES, span)
        except (AuroraError, OSError, ValueError) as error:
            return [unreadable(name, error)]
        return [self.made(f"{name}, {index + 1} of {VIDEO_FRAMES}", frame) for index, frame in enumerate(pixels)]

    def image(self, reader: "MediaReader", name: str) -> Thumbnail:
        if self.bytes_left <= 0:
            return no_room(shown(name))
        try:
            return self.made(shown(name), reader.images([name])[0])
        except (AuroraError, OSError, ValueError) as error:
            return unreadable(shown(name), error)

    def made(self, name: str, pixels: np.ndarray) -> Thumbnail:
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=QUALITY, optimize=True)
        self.bytes_left -= buffer.tell()
        return Thumbnail(name, buffer.getvalue())


def no_room(name: str) -> Thumbnail:
    return Thumbnail(name, None, f"left out: a report has {MAX_BYTES >> 20} MiB of images at most")


def unreadable(name: str, error: Exception) -> Thumbnail:
    """Says why, without the name, which stands beside it."""
    if isinstance(error, MissingMedia):
        return Thumbnail(name, None, "no such file")
    return Thumbnail(name, None, str(error).removeprefix(f"{name}: "), unreadable=True)
