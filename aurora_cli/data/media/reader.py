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

from aurora_cli.data.media.animations import is_animation
from aurora_cli.data.media.decoders.sampling import (
    EVENLY_IN_TIME,
    NO_LIMITS,
    Sampling,
    Span,
    VideoLimits,
    evenly_spaced,
)
from aurora_cli.data.media.errors import MissingMedia, UnreadableMedia
from aurora_cli.data.media.images import SHRINK_MARGIN, Colour, decode_image
from aurora_cli.data.media.kinds import ANIMATED_SUFFIXES, VIDEO_SUFFIXES, frames_among
from aurora_cli.data.media.transforms import is_thin, normalise, padding_colour, square_frames, square_image
from aurora_cli.data.media.videos import decode_frames
from aurora_cli.io.data_uri import shown
from aurora_cli.io.file_version import version_of


class MediaSource(Protocol):
    """Where paths are looked up: a `MediaRoot`, or plain files. Both raise MissingMedia for what is nowhere."""

    def open(self, path: str) -> Path | bytes: ...

    def read(self, path: str) -> bytes: ...

    def version(self, path: str) -> str | None: ...

    def files_in(self, path: str) -> list[str] | None: ...


class PlainFiles:
    """Paths as the system knows them."""

    def open(self, path: str) -> Path:
        if not Path(path).is_file():
            raise MissingMedia(f"{path}: there is no such file")
        return Path(path)

    def read(self, path: str) -> bytes:
        try:
            return self.open(path).read_bytes()
        except OSError as error:
            raise UnreadableMedia(f"{path}: cannot be read: {error.strerror}") from error

    def version(self, path: str) -> str | None:
        return version_of(Path(path).stat()) if Path(path).is_file() else None

    def files_in(self, path: str) -> list[str] | None:
        return sorted(entry.name for entry in Path(path).iterdir()) if Path(path).is_dir() else None


def image_pixels(source: Path | bytes, name: str, size: int, fill: Colour) -> np.ndarray:
    """(S, S, 3) of one image.

    Raises:
        UnreadableMedia: naming it and the reason.
    """
    rgb, is_lossy = decode_image(source, name, size=size)
    if is_lossy and not is_thin(rgb):
        return square_frames(np.asarray(rgb)[None], size, fill)[0]
    return square_image(rgb, size, fill)


def video_pixels(
    source: Path | bytes,
    name: str,
    frames: int,
    size: int,
    fill: Colour,
    sampling: Sampling = EVENLY_IN_TIME,
    span: Span | None = None,
    limits: VideoLimits = NO_LIMITS,
) -> np.ndarray:
    """(F, S, S, 3): frames selected by `sampling`, of a span or of all of the video, shrunk while decoding where it is
    far larger than wanted.

    Raises:
        UnreadableMedia: naming it and the reason.
    """
    levels = decode_frames(source, name, frames, SHRINK_MARGIN * size, sampling, span, limits)
    return square_frames(levels, size, fill)


def load_frames(
    path: str | Path | Sequence[str | Path],
    frames: int,
    image_size: int,
    mean: Sequence[float],
    std: Sequence[float],
    sampling: Sampling = EVENLY_IN_TIME,
    span: Span | None = None,
) -> torch.Tensor:
    """The vision tower's input for one medium: (F, 3, S, S) float32.

    `path` is an image (F = 1), a video, a folder of frames, or a list of frame files. Only a video file, or an image of
    several frames, can have a span.

    Raises:
        DataError: it cannot be read.
    """
    reader = MediaReader(PlainFiles(), image_size, mean, sampling)
    if span is not None and (not isinstance(path, str | Path) or not reader.is_video(str(path))):
        what = "an image" if isinstance(path, str | Path) else "a list of frames"
        raise UnreadableMedia(f"{what} has no times, so no part from {span[0]:g} s")
    if not isinstance(path, str | Path):
        pixels = reader.images([str(path[index]) for index in evenly_spaced(len(path), frames)])
    elif reader.is_video(str(path)):
        pixels = reader.video(str(path), frames, span)
    else:
        pixels = reader.images([str(path)])
    return normalise(torch.from_numpy(pixels), mean, std)


class MediaReader:
    """Reads media of one source at one size."""

    def __init__(
        self,
        source: MediaSource,
        image_size: int,
        mean: Sequence[float],
        sampling: Sampling = EVENLY_IN_TIME,
    ) -> None:
        self.source = source
        self.image_size = image_size
        self.sampling = sampling
        self.fill: Colour = padding_colour(mean)

    def images(self, paths: Sequence[str]) -> np.ndarray:
        """(F, S, S, 3), a frame an image."""
        pixels = np.empty((len(paths), self.image_size, self.image_size, 3), np.uint8)
        for number, path in enumerate(paths):
            pixels[number] = image_pixels(self.source.read(path), shown(path), self.image_size, self.fill)
        return pixels

    def video(self, path: str, frames: int, span: Span | None = None) -> np.ndarray:
        """(F, S, S, 3), frames of a video file by `sampling`, or spread evenly over a folder of frame files.

        `span`: seconds of the file from its first shown frame; frames are taken within it.

        Raises:
            UnreadableMedia: the reason; a span that holds no frame is one.
        """
        try:
            source = self.source.open(path)
        except MissingMedia:
            names = self.source.files_in(path)
            if names is None:
                raise
            if span is not None:
                raise UnreadableMedia(
                    f"{path}: a folder of frames has no times, so no part from {span[0]:g} s"
                ) from None
            return self._frames_in(path, names, frames)
        return video_pixels(source, path, frames, self.image_size, self.fill, self.sampling, span)

    def _frames_in(self, folder: str, files: list[str], frames: int) -> np.ndarray:
        paths = _selected_of(folder, files, frames)
        if not paths:
            raise UnreadableMedia(f"{folder}: a folder without images, where the frames of a video were expected")
        return self.images(paths)

    def image_versions(self, paths: Sequence[str]) -> list[tuple[str, str]] | None:
        """Path and version of each image; none: one is missing. No image is read."""
        versions = [(path, self.source.version(path)) for path in paths]
        known = [(path, version) for path, version in versions if version is not None]
        return known if len(known) == len(versions) else None

    def video_versions(self, path: str, frames: int) -> list[tuple[str, str]] | None:
        """Path and version of the video file, or of each frame that is selected in a folder of frames; none: there is
        neither. No video is read."""
        if (found := self.image_versions([path])) is not None:
            return found
        files = self.source.files_in(path)
        return None if files is None else self.image_versions(_selected_of(path, files, frames)) or None

    def blank(self, frames: int) -> np.ndarray:
        """(F, S, S, 3) of the padding colour: stands for media that could not be read, and is never taught."""
        return np.full((frames, self.image_size, self.image_size, 3), self.fill, np.uint8)

    def is_video(self, path: str) -> bool:
        """Whether a path means a video: by its suffix, as an image of several frames, or because it is a folder."""
        if Path(path).suffix.lower() in VIDEO_SUFFIXES or self.source.files_in(path) is not None:
            return True
        return Path(path).suffix.lower() in ANIMATED_SUFFIXES and is_animation(self.source.open(path), path)


def _selected_of(folder: str, files: list[str], frames: int) -> list[str]:
    """The paths of the frames of a folder that a video of so many takes."""
    names = frames_among(files)
    return [f"{folder}/{names[index]}" for index in evenly_spaced(len(names), frames)] if names else []
