"""What a request brings, and its pixels: by the readers of `aurora caption`, and so the same.

Shapes: F frames, S side of the tower's square.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from aurora_cli.captioning.inputs import CaptionInput, InMemory
from aurora_cli.config.settings import ModelSettings
from aurora_cli.data.media.animations import is_animation
from aurora_cli.data.media.decoders.sampling import EVENLY_IN_TIME
from aurora_cli.data.media.kinds import MediaKind
from aurora_cli.data.media.reader import image_pixels, video_pixels
from aurora_cli.data.media.transforms import normalise, padding_colour
from aurora_cli.errors import UsageError

EXPECTED = "expected are the bytes or the path of a file, an image or frames of Pillow, or an array of uint8"


@dataclass(frozen=True)
class Medium:
    """An image or a video: the bytes of its file, or what lies in memory."""

    kind: MediaKind
    content: bytes | tuple[Image.Image, ...]

    def pixels(self, frames: int, model: ModelSettings) -> torch.Tensor:
        """(F, 3, S, S) float32.

        Raises:
            DataError: it cannot be read.
        """
        if isinstance(self.content, tuple):
            return CaptionInput(self.kind, self.kind, InMemory(self.content)).frames(frames, model, EVENLY_IN_TIME)
        mean, std, size = model.image_mean, model.image_std, model.image_size
        fill = padding_colour(mean)
        if self.kind == "image":
            levels = image_pixels(self.content, "the image", size, fill)[None].copy()  # Pillow's may not be written to
        else:
            name = "the video.gif" if is_animation(self.content, "the video.gif") else "the video.mp4"
            levels = video_pixels(self.content, name, frames, size, fill)
        return normalise(torch.from_numpy(levels), mean, std)


def image_of(given: Any) -> Medium:
    """
    Raises:
        UsageError: it is no image.
    """
    return _in_file("image", given) or Medium("image", (_image(given),))


def video_of(given: Any) -> Medium:
    """
    Raises:
        UsageError: it is no video.
    """
    if (medium := _in_file("video", given)) is not None:
        return medium
    if isinstance(given, torch.Tensor):
        given = given.cpu().numpy()
    if not isinstance(given, Sequence | np.ndarray) or isinstance(given, str) or len(given) == 0:
        raise UsageError(f"a video is {given!r:.60}; {EXPECTED}")
    return Medium("video", tuple(_image(frame) for frame in given))


def _in_file(kind: MediaKind, given: Any) -> Medium | None:
    """What was made a medium before, or is a file; None: it lies in memory."""
    if isinstance(given, Medium):
        return given
    if isinstance(given, bytes | Path):
        return Medium(kind, given if isinstance(given, bytes) else given.read_bytes())
    return None


def are_frames(given: Any) -> bool:
    """Whether a list holds the frames of one video, and not videos."""
    if not isinstance(given, list | tuple) or not given:
        return False
    return all(isinstance(each, Image.Image) or (isinstance(each, np.ndarray) and each.ndim == 3) for each in given)


def _image(given: Any) -> Image.Image:
    if isinstance(given, Image.Image):
        return given
    if isinstance(given, torch.Tensor):
        given = given.cpu().numpy()
    if not isinstance(given, np.ndarray) or given.dtype != np.uint8 or given.ndim != 3 or given.shape[-1] != 3:
        raise UsageError(f"an image is {getattr(given, 'shape', given)!r:.60}; {EXPECTED} (H, W, 3)")
    return Image.fromarray(given)
