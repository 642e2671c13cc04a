"""What a file's name says about a medium, when nothing else does."""

from collections.abc import Iterable
from pathlib import PurePath

VIDEO_SUFFIXES = frozenset((
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts", ".vob",
    ".webm", ".wmv",
))  # fmt: skip
"""Files read as videos when nothing else says what they are."""

IMAGE_SUFFIXES = frozenset((".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"))
"""Files of a folder that are frames of a video."""


def frames_among(names: Iterable[str]) -> list[str]:
    """The files of a folder that are frames of a video, in their order."""
    return [name for name in names if PurePath(name).suffix.lower() in IMAGE_SUFFIXES]
