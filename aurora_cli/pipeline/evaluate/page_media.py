"""The images and videos that captions are about, as far as they lie here: found by the captions' names, made small."""

import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aurora_cli.data.media.kinds import frames_among, kind_by_name
from aurora_cli.errors import AuroraError

SIDE = 320
"""Pixels of the longer side; shown at half of it, so that it is sharp on fine displays."""
QUALITY = 80
FRAMES = 3
"""Of a video, beside each other."""
MAX_BYTES = 12 << 20
"""Of all thumbnails of a page: it opens at once everywhere, and can be mailed."""

_PART = re.compile(r"(?P<medium>.+)@(?P<start>\d+(\.\d+)?)-(?P<end>\d+(\.\d+)?)?")
"""A part of a video, as `evaluation.captions.part_name` writes it."""


class Thumbnail(NamedTuple):
    """A medium, small; of a video some frames beside each other."""

    jpeg: bytes | None
    instead: str = ""
    """Why there is no image."""
    frames: int = 1


def find_medium(names: Iterable[str], folders: Sequence[Path]) -> str | None:
    """The first of the names that is an image, a video or a folder of frames below one of the folders: its path, with
    the part of the video that the name has."""
    for name in names:
        file, part = _split(name)
        if "\0" in file or len(file) > 1000:
            continue
        for folder in folders:
            path = folder / Path(file).expanduser()
            if _is_medium(path):
                return f"{path}{part}"
    return None


def _split(name: str) -> tuple[str, str]:
    """
    >>> _split("a.mp4@3-7.5"), _split("a@b.png")
    (('a.mp4', '@3-7.5'), ('a@b.png', ''))
    """
    part = _PART.fullmatch(name)
    return (name, "") if part is None else (part["medium"], name.removeprefix(part["medium"]))


def _is_medium(path: Path) -> bool:
    try:
        if path.is_dir():
            return any(frames_among(entry.name for entry in path.iterdir()))
        return kind_by_name(path) is not None and path.is_file()
    except OSError:
        return False


class Thumbnails:
    """Makes them until `MAX_BYTES` are used up; of a medium once."""

    def __init__(self) -> None:
        self._bytes_left = MAX_BYTES
        self._made: dict[str, Thumbnail] = {}

    def of(self, medium: str | None) -> Thumbnail:
        """Of what `find_medium` gave."""
        if medium is None:
            return Thumbnail(None, "its file is not here")
        if medium not in self._made:
            self._made[medium] = self._new(medium)
        return self._made[medium]

    def _new(self, medium: str) -> Thumbnail:
        if self._bytes_left <= 0:
            return Thumbnail(None, f"left out: a page has {MAX_BYTES >> 20} MiB of images at most")
        try:
            frames = _frames(medium)
        except (AuroraError, OSError, ValueError) as error:
            return Thumbnail(None, str(error).removeprefix(f"{_split(medium)[0]}: "))
        jpeg = _jpeg(frames)
        self._bytes_left -= len(jpeg)
        return Thumbnail(jpeg, frames=len(frames))


def _frames(medium: str) -> list[np.ndarray]:
    """(H, W, 3) uint8 each, all as large: the image, or some frames of the video."""
    from aurora_cli.data.media.animations import is_video
    from aurora_cli.data.media.images import decode_image
    from aurora_cli.data.media.videos import decode_frames

    name, part = _split(medium)
    path = Path(name)
    if path.is_dir():
        files = frames_among(sorted(entry.name for entry in path.iterdir()))
        shown = [files[at] for at in np.unique(np.linspace(0, len(files) - 1, FRAMES).astype(int))]
        images = [decode_image(path / file, file, size=SIDE).rgb for file in shown]
        return [np.asarray(image.resize(images[0].size)) for image in images]
    if is_video(path, path.name):
        return list(decode_frames(path, name, FRAMES, SIDE, span=_span(part)))
    return [np.asarray(decode_image(path, name, size=SIDE).rgb)]


def _span(part: str) -> tuple[float, float] | None:
    """
    >>> _span("@3-7.5"), _span("@3-"), _span("")
    ((3.0, 7.5), (3.0, inf), None)
    """
    if not part:
        return None
    start, _, end = part.removeprefix("@").partition("-")
    return float(start), float(end or "inf")


def _jpeg(frames: Sequence[np.ndarray]) -> bytes:
    from PIL import Image

    strip = Image.fromarray(np.concatenate(list(frames), axis=1))
    height, width = frames[0].shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    buffer = io.BytesIO()
    size = max(1, round(strip.width * scale)), max(1, round(strip.height * scale))
    strip.resize(size).save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return buffer.getvalue()
