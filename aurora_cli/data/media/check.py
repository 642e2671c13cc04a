"""Can a medium be decoded? With the decoders that training uses, but without torch.

An image is decoded to its last pixel; of a video or an animation some frames over its whole
length; of a folder of frames each.
"""

from pathlib import Path

from aurora_cli.data.media.animations import is_animation
from aurora_cli.data.media.decoders.sampling import Span
from aurora_cli.data.media.errors import MissingMedia, UnreadableMedia
from aurora_cli.data.media.images import decode_image
from aurora_cli.data.media.kinds import ANIMATED_SUFFIXES, VIDEO_SUFFIXES, frames_among
from aurora_cli.data.media.root import MediaRoot
from aurora_cli.data.media.videos import decode_frames
from aurora_cli.errors import DataError

_VIDEO_FRAMES = 8
_VIDEO_SIDE = 224


def complaint(root: MediaRoot, path: str, span: Span | None = None) -> str | None:
    """Why a medium that is there, or the part of a video, cannot be decoded; none: it can."""
    try:
        _decode(root, path, span)
    except DataError as error:
        return error.message.removeprefix(f"{path}: ")
    return None


def has_frames(root: MediaRoot, path: str) -> bool:
    """Whether an image has more than one frame; one that cannot be read has none."""
    if Path(path).suffix.lower() not in ANIMATED_SUFFIXES:
        return False
    try:
        return is_animation(root.open(path), path)
    except DataError:
        return False


def _decode(root: MediaRoot, path: str, span: Span | None) -> None:
    try:
        suffix = Path(path).suffix.lower()
        if suffix in VIDEO_SUFFIXES or (suffix in ANIMATED_SUFFIXES and is_animation(root.open(path), path)):
            decode_frames(root.open(path), path, _VIDEO_FRAMES, _VIDEO_SIDE, span=span)
        else:
            decode_image(root.read(path), path)
    except MissingMedia:
        files = root.files_in(path)
        if files is None:
            raise
        if span is not None:
            raise UnreadableMedia(f"{path}: a folder of frames has no times, so no part of it") from None
        frames = frames_among(files)
        if not frames:
            raise UnreadableMedia(f"{path}: a folder without images") from None
        for name in frames:
            decode_image(root.read(f"{path}/{name}"), f"{path}/{name}")
