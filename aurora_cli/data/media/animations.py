"""GIF, WebP, APNG and AVIF of more than one frame: a video, read by Pillow. Shapes: F frames, H, W their sides."""

import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from aurora_cli.data.media.decoders.sampling import NO_LIMITS, Damaged, Sampling, Span, VideoLimits, selected_frames
from aurora_cli.data.media.errors import UnreadableMedia
from aurora_cli.data.media.kinds import ANIMATED_SUFFIXES, kind_by_name
from aurora_cli.data.media.rgb import as_rgb

FORMATS = frozenset({"GIF", "WEBP", "PNG", "AVIF"})
"""Pillow's names; TIFF and MPO have several images too, which are no frames of a video."""

SHORTEST_MS = 10
USUAL_MS = 100
"""What browsers make of a delay of that length or none."""

_FRAMES_IN_ALL = 20
"""All frames are decoded to learn their times: where pixels are limited, together they have at most as many as so many
of the largest."""


def is_animation(source: Path | bytes, name: str) -> bool:
    """Whether an image has more than one frame; what cannot be read has none."""
    if Path(name).suffix.lower() not in ANIMATED_SUFFIXES:
        return False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                return getattr(image, "is_animated", False)  # of a GIF `n_frames` reads all of it
    except MemoryError:
        raise
    except Exception:  # Pillow raises anything on damaged files; reading it says what is wrong
        return False


def is_video(source: Path | bytes, name: str) -> bool:
    """Whether a file is a video: by its suffix, or as an image of several frames."""
    return kind_by_name(name) == "video" or is_animation(source, name)


def animation_frames(
    source: Path | bytes,
    name: str,
    frames: int,
    longest: int,
    sampling: Sampling,
    span: Span | None,
    limits: VideoLimits = NO_LIMITS,
) -> np.ndarray:
    """(F, H, W, 3) uint8, as `decode_frames`; an image of one frame is a video of one.

    Raises:
        UnreadableMedia: naming it and the reason.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                _check_size(image, limits)
                edges_s = frame_edges(image)
                selected = selected_frames(edges_s[:-1], frames, sampling, span, edges_s[-1])
                distinct, positions = np.unique(selected, return_inverse=True)
                numbers = [frame_numbers(image)[index] for index in distinct.tolist()]
                return np.stack(_rgb_frames(image, numbers, longest))[positions]
    except MemoryError:
        raise
    except UnidentifiedImageError as error:  # its own message is the address of a buffer
        raise UnreadableMedia(f"{name}: not a readable image: its format is not known") from error
    except Damaged as error:
        raise UnreadableMedia(f"{name}: {error}") from error
    except Exception as error:  # as in `decode_image`
        raise UnreadableMedia(f"{name}: not a readable image: {error or type(error).__name__}") from error


def _check_size(image: Image.Image, limits: VideoLimits) -> None:
    """
    Raises:
        Damaged: it is larger than is taken.
    """
    frames, (width, height) = len(frame_numbers(image)), image.size
    limits.check(width, height, frames)
    if frames * width * height > _FRAMES_IN_ALL * limits.pixels:
        raise Damaged(
            f"its {frames:,} frames of {width:,} x {height:,} pixels have more than "
            f"{_FRAMES_IN_ALL * limits.pixels:,} together, which are taken at most"
        )


def frame_numbers(image: Image.Image) -> range:
    """Pillow's numbers of the frames: an APNG may begin with an image for those who show no animations."""
    return range(1 if getattr(image, "default_image", False) else 0, getattr(image, "n_frames", 1))


def frame_edges(image: Image.Image) -> np.ndarray:
    """Frame i is shown from edge i to edge i + 1, in seconds."""
    lengths = [0.0]
    for number in frame_numbers(image):
        image.seek(number)
        image.load()  # WebP and AVIF know a frame's length only then
        length = float(image.info.get("duration") or 0)
        lengths.append(length if length > SHORTEST_MS else USUAL_MS)
    return np.cumsum(lengths) / 1000


def _rgb_frames(image: Image.Image, numbers: Sequence[int], longest: int) -> list[np.ndarray]:
    found = []
    for number in numbers:
        image.seek(number)
        frame = as_rgb(image.copy())
        share = longest / max(frame.size)
        if share < 1:
            width, height = (max(2, round(side * share)) for side in frame.size)
            frame = frame.resize((width, height), Image.Resampling.BICUBIC)
        found.append(np.asarray(frame))
    return found
