"""Images and videos from any of their forms to frames: uint8, a square of the model's size, channels last.

Pillow reads images here, decord or PyAV reads videos in a process beside this one. A medium that cannot be read is an
`UnreadableMedia` with the reason, never a black frame.
Shapes: F frames, S side of the square.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from aurora_cli.data.media.images import UnreadableMedia, image_pixels
from aurora_cli.data.media.kinds import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from aurora_cli.data.media.transforms import Colour, normalise, padding_colour
from aurora_cli.data.media.video_decoder import EVENLY_IN_TIME, Sampling, evenly_spaced
from aurora_cli.data.media.videos import video_pixels


class MediaSource(Protocol):
    """Where paths are looked up: `data.archives.MediaRoot`."""

    def read(self, path: str) -> bytes: ...

    def local_path(self, path: str) -> Path | None: ...

    def files_in(self, path: str) -> list[str] | None: ...


def load_frames(
    root: MediaSource | None,
    path: str | Path | Sequence[str | Path],
    frames: int,
    image_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    sampling: Sampling = EVENLY_IN_TIME,
) -> torch.Tensor:
    """The vision tower's input for one medium: (F, 3, S, S) float32.

    `path` is an image (F = 1), a video, a folder of frames, or a list of frame files; `root=None` reads plain files.

    Raises:
        DataError: it cannot be read.
    """
    reader = MediaReader(root, image_size, mean, sampling)
    if not isinstance(path, str | Path):
        pixels = reader.images([str(path[index]) for index in evenly_spaced(len(path), frames)])
    elif reader.is_video(str(path)):
        pixels = reader.video(str(path), frames)
    else:
        pixels = reader.images([str(path)])
    return normalise(torch.from_numpy(pixels), mean, std)


class MediaReader:
    """Reads media below one root at one size."""

    def __init__(
        self,
        root: MediaSource | None,
        image_size: int,
        mean: Sequence[float],
        sampling: Sampling = EVENLY_IN_TIME,
    ) -> None:
        self.root = root
        self.image_size = image_size
        self.sampling = sampling
        self.fill: Colour = padding_colour(mean)

    def images(self, paths: Sequence[str]) -> np.ndarray:
        """(F, S, S, 3), a frame an image."""
        pixels = np.empty((len(paths), self.image_size, self.image_size, 3), np.uint8)
        for number, path in enumerate(paths):
            pixels[number] = image_pixels(self._source(path), path, self.image_size, self.fill)
        return pixels

    def video(self, path: str, frames: int) -> np.ndarray:
        """(F, S, S, 3), frames of a video file by `sampling`, or spread evenly over a folder of frame files."""
        files = self._files_in(path)
        if files is None:
            return video_pixels(self._source(path), path, frames, self.image_size, self.fill, self.sampling)
        names = [name for name in files if Path(name).suffix.lower() in IMAGE_SUFFIXES]
        if not names:
            raise UnreadableMedia(f"{path}: a folder without images, where the frames of a video were expected")
        return self.images([f"{path}/{names[index]}" for index in evenly_spaced(len(names), frames)])

    def blank(self, frames: int) -> np.ndarray:
        """(F, S, S, 3) of the padding colour: stands for media that could not be read, and is never taught."""
        return np.full((frames, self.image_size, self.image_size, 3), self.fill, np.uint8)

    def is_video(self, path: str) -> bool:
        """Whether a path means a video: by its suffix, or because it is a folder."""
        return Path(path).suffix.lower() in VIDEO_SUFFIXES or self._files_in(path) is not None

    def _files_in(self, path: str) -> list[str] | None:
        """A folder's files, sorted; none: it is no folder."""
        if self.root is not None:
            return self.root.files_in(path)
        return sorted(entry.name for entry in Path(path).iterdir()) if Path(path).is_dir() else None

    def _source(self, path: str) -> Path | bytes:
        if self.root is None:
            if not Path(path).is_file():
                raise UnreadableMedia(f"{path}: there is no such file")
            return Path(path)
        local = self.root.local_path(path)
        return self.root.read(path) if local is None else local
