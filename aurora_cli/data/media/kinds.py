"""What a file's name says about a medium, when nothing else does."""

from collections.abc import Iterable
from pathlib import PurePath
from typing import Literal

MediaKind = Literal["image", "video"]

VIDEO_SUFFIXES = frozenset((
    ".3g2", ".3gp", ".asf", ".avi", ".f4v", ".flv", ".m2ts", ".m2v", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg",
    ".mts", ".ogv", ".qt", ".ts", ".vob", ".webm", ".wmv",
))  # fmt: skip
"""Files read as videos when nothing else says what they are."""

IMAGE_SUFFIXES = frozenset((
    ".apng", ".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff",
    ".webp",
))  # fmt: skip
"""Files of a folder that are frames of a video."""

ANIMATED_SUFFIXES = frozenset((".apng", ".avif", ".gif", ".png", ".webp"))
"""Images that may have more than one frame; then they are videos."""

HEIF_SUFFIXES = frozenset((".heic", ".heif"))
"""Read where pillow-heif is installed."""


def kind_by_name(name: str | PurePath) -> MediaKind | None:
    """By the suffix; none: it is neither's.

    >>> kind_by_name("a.JPG"), kind_by_name("clips/a.mp4"), kind_by_name("a.txt")
    ('image', 'video', None)
    """
    suffix = PurePath(name).suffix.lower()
    return "video" if suffix in VIDEO_SUFFIXES else "image" if suffix in IMAGE_SUFFIXES else None


def frames_among(names: Iterable[str]) -> list[str]:
    """The files of a folder that are frames of a video, in their order."""
    return [name for name in names if PurePath(name).suffix.lower() in IMAGE_SUFFIXES]
