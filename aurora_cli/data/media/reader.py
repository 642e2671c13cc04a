"""Pictures and clips from any of their forms to frames: uint8, a square of the model's size, channels last.

Pillow reads pictures here, decord or PyAV reads clips in a process beside this one. A medium that cannot be read is an
`UnreadableMedia` with the reason, never a black frame.
Shapes: F frames, S side of the square.
"""

import io
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image, ImageOps

from aurora_cli.data.media.clip_decoder import EVENLY_IN_TIME, Request, Sampling, evenly_spaced
from aurora_cli.data.media.clip_process import DecoderError, decode_clip
from aurora_cli.data.media.kinds import CLIP_SUFFIXES, PICTURE_SUFFIXES
from aurora_cli.data.media.transforms import Colour, normalise, padding_colour, square_frames, square_picture
from aurora_cli.errors import DataError

SHRINK_MARGIN = 2
"""Decoders that can shrink stop at this multiple of the wanted side; bicubic does the rest, so nothing aliases."""

LOSSY_FORMATS = frozenset({"JPEG", "MPO"})
ORIENTATION_TAG = 0x0112


class UnreadableMedia(DataError):
    """A picture or clip that is missing, damaged or empty."""


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

    `path` is a picture (F = 1), a clip, a folder of frames, or a list of frame files; `root=None` reads plain files.

    Raises:
        DataError: it cannot be read.
    """
    reader = MediaReader(root, image_size, mean, sampling)
    if not isinstance(path, str | Path):
        pixels = reader.pictures([str(path[index]) for index in evenly_spaced(len(path), frames)])
    elif reader.is_clip(str(path)):
        pixels = reader.clip(str(path), frames)
    else:
        pixels = reader.pictures([str(path)])
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

    def pictures(self, paths: Sequence[str]) -> np.ndarray:
        """(F, S, S, 3), a frame a picture."""
        pixels = np.empty((len(paths), self.image_size, self.image_size, 3), np.uint8)
        for number, path in enumerate(paths):
            pixels[number] = picture_pixels(self._source(path), path, self.image_size, self.fill)
        return pixels

    def clip(self, path: str, frames: int) -> np.ndarray:
        """(F, S, S, 3), frames of a clip file by `sampling`, or spread evenly over a folder of frame files."""
        files = self._files_in(path)
        if files is None:
            return clip_pixels(self._source(path), path, frames, self.image_size, self.fill, self.sampling)
        names = [name for name in files if Path(name).suffix.lower() in PICTURE_SUFFIXES]
        if not names:
            raise UnreadableMedia(f"{path}: a folder without pictures, where the frames of a clip were expected")
        return self.pictures([f"{path}/{names[index]}" for index in evenly_spaced(len(names), frames)])

    def blank(self, frames: int) -> np.ndarray:
        """(F, S, S, 3) of the padding colour: stands for media that could not be read, and is never taught."""
        return np.full((frames, self.image_size, self.image_size, 3), self.fill, np.uint8)

    def is_clip(self, path: str) -> bool:
        """Whether a path means a clip: by its suffix, or because it is a folder."""
        return Path(path).suffix.lower() in CLIP_SUFFIXES or self._files_in(path) is not None

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


def picture_pixels(source: Path | bytes, name: str, size: int, fill: Colour) -> np.ndarray:
    """(S, S, 3) of one picture.

    Raises:
        UnreadableMedia: naming it and the reason.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd metadata; what it cannot decode it raises
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                lossy = image.format in LOSSY_FORMATS
                _shrink_while_decoding(image, size)
                image.load()
                picture = as_rgb(_upright(image), fill)
    except MemoryError:
        raise
    except Exception as error:  # Pillow's decoders raise anything from OSError to struct.error on damaged files
        raise UnreadableMedia(f"{name}: not a readable picture: {error or type(error).__name__}") from error
    if lossy:
        return square_frames(np.asarray(picture)[None], size, fill)[0]
    return square_picture(picture, size, fill)


def as_rgb(image: Image.Image, background: Colour) -> Image.Image:
    """Any mode as 8-bit RGB: transparency over the background, deep greys scaled down rather than clipped."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = Image.fromarray(_eight_bits(np.asarray(image)))
    if "transparency" in image.info or image.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        image = image.convert("RGBA")
        canvas = Image.new("RGBA", image.size, (*background, 255))
        image = Image.alpha_composite(canvas, image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(levels: np.ndarray) -> np.ndarray:
    """Greys of 16 or 32 bits, or floats of 0..1, as 0..255."""
    if levels.dtype == np.uint16:
        top = 65535.0
    elif np.issubdtype(levels.dtype, np.floating) and levels.max(initial=0) <= 1.0:
        top = 1.0
    else:
        top = 255.0 if levels.max(initial=0) <= 255 else 65535.0
    return (levels.astype(np.float64) * (255.0 / top)).round().clip(0, 255).astype(np.uint8)


def _shrink_while_decoding(image: Image.Image, size: int) -> None:
    """Let the JPEG decoder shrink by 2, 4 or 8, as long as `SHRINK_MARGIN` times the wanted side remains."""
    longest = max(image.size)
    if longest >= 2 * SHRINK_MARGIN * size:
        share = SHRINK_MARGIN * size / longest
        image.draft(None, (max(1, round(image.width * share)), max(1, round(image.height * share))))


def _upright(image: Image.Image) -> Image.Image:
    """As the camera was held. Looks at the tag first: a picture without it is not copied."""
    if image.getexif().get(ORIENTATION_TAG, 1) == 1:
        return image
    return ImageOps.exif_transpose(image)


def clip_pixels(
    source: Path | bytes, name: str, frames: int, size: int, fill: Colour, sampling: Sampling = EVENLY_IN_TIME
) -> np.ndarray:
    """(F, S, S, 3): frames chosen by `sampling`, shrunk while decoding where the clip is far larger than wanted.

    Raises:
        UnreadableMedia: naming it and the reason.
    """
    longest = SHRINK_MARGIN * size
    try:
        if isinstance(source, Path):
            decoded = decode_clip(Request(str(source), frames, longest, sampling))
        else:  # decord reads bytes too, but crashes on damaged ones far more often than on a damaged file
            with tempfile.NamedTemporaryFile(suffix=Path(name).suffix) as file:
                file.write(source)
                file.flush()
                decoded = decode_clip(Request(file.name, frames, longest, sampling))
    except DecoderError as error:
        raise UnreadableMedia(f"{name}: not a readable clip: {error}") from error
    return square_frames(decoded, size, fill)
