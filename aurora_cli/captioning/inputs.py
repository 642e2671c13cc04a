"""From what a caller names or holds to what is captioned: files, folders of frames, images and frames in memory.

Shapes: F frames, H height, W width, S side of the tower's square.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from PIL import Image, ImageSequence

from aurora_cli.captioning.result import Part
from aurora_cli.config.settings import ModelSettings
from aurora_cli.data.media.animations import FORMATS, frame_edges, frame_numbers, is_video
from aurora_cli.data.media.decoders.sampling import Damaged, Sampling, Span, evenly_spaced, selected_frames
from aurora_cli.data.media.errors import UnreadableMedia
from aurora_cli.data.media.kinds import MediaKind
from aurora_cli.data.media.reader import load_frames
from aurora_cli.data.media.rgb import as_rgb, upright
from aurora_cli.data.media.transforms import normalise, padding_colour, square_image
from aurora_cli.errors import UsageError

Media: TypeAlias = str | Path | Image.Image | np.ndarray | Sequence[str | Path] | Sequence[Image.Image]
"""One image or video: a file, a folder of frames, a list of frame files, an image, a list of images, or an array of
uint8: an image (H, W, 3), or a video (F, H, W, 3)."""

EXPECTED = "a path, an image, a list of either, or an array (H, W, 3) or (F, H, W, 3) of uint8 was expected"


@dataclass(frozen=True)
class InMemory:
    """Images that no file holds: one, or the frames of a video."""

    images: tuple[Image.Image, ...]
    edges_s: tuple[float, ...] = ()
    """Frame i is shown from edge i to edge i + 1; empty: all as long as another."""


class CaptionInput(NamedTuple):
    """One image or video to caption."""

    name: str
    kind: MediaKind
    source: Path | tuple[Path, ...] | InMemory
    """A file or a folder of frames, frame files, or what lies in memory."""
    span: Span | None = None
    """Seconds of a video that frames are taken from; none: all of it."""
    question: str | None = None
    """About this medium alone; none: the one about all of its kind."""
    id: str | int | None = None
    """What the caller calls it."""

    def frames(self, count: int, model: ModelSettings, sampling: Sampling) -> torch.Tensor:
        """The vision tower's input, (F, 3, S, S) float32: F is 1 of an image, else `count`.

        Raises:
            DataError: it cannot be read.
        """
        mean, std, size = model.image_mean, model.image_std, model.image_size
        if not isinstance(self.source, InMemory):
            return load_frames(self.source, count, size, mean, std, sampling, self.span)
        if self.span is not None and not self.source.edges_s:
            raise UnreadableMedia(f"{self.name}: has no times, so no part from {self.span[0]:g} s")
        images, fill = self.source.images, padding_colour(mean)
        wanted = self._wanted(self.source, count, sampling) if self.kind == "video" else range(1)
        frames_FSSC = np.stack([square_image(as_rgb(upright(images[index])), size, fill) for index in wanted])
        return normalise(torch.from_numpy(frames_FSSC), mean, std)

    def _wanted(self, held: InMemory, count: int, sampling: Sampling) -> np.ndarray:
        if not held.edges_s:
            return evenly_spaced(len(held.images), count)
        try:
            return selected_frames(np.array(held.edges_s[:-1]), count, sampling, self.span, held.edges_s[-1])
        except Damaged as error:
            raise UnreadableMedia(f"{self.name}: {error}") from error


def caption_inputs(media: Iterable[Media], spans: Sequence[Part | None] | None = None) -> list[CaptionInput]:
    """Each medium as an input, in order; `spans` has for each the part of it, or none.

    Raises:
        UsageError: something that is no medium, or no span of one, or more spans than media.
    """
    if isinstance(media, str | Path | Image.Image | np.ndarray):
        raise UsageError(f"media: a list was expected, not a {type(media).__name__} alone: write [...] around it")
    inputs = [_input(medium, f"media[{number}]") for number, medium in enumerate(media)]
    if spans is None:
        return inputs
    if len(spans) != len(inputs):
        raise UsageError(f"spans: there are {len(spans)} for {len(inputs)} media; one each was expected, or None")
    return [
        each._replace(span=_span(span, number)) for number, (each, span) in enumerate(zip(inputs, spans, strict=True))
    ]


def _span(span: Part | None, number: int) -> Span | None:
    if span is None:
        return None
    start, end = span
    end = math.inf if end is None else end
    if not 0 <= start < end:
        raise UsageError(f"spans[{number}]: from {start:g} to {end:g} s; a start before an end was expected")
    return start, end


def _input(medium: Media, name: str) -> CaptionInput:
    if isinstance(medium, str | Path):
        path = Path(medium)
        return CaptionInput(str(medium), "video" if path.is_dir() or is_video(path, path.name) else "image", path)
    if isinstance(medium, Image.Image):
        if medium.format not in FORMATS or getattr(medium, "n_frames", 1) == 1:
            return CaptionInput(name, "image", InMemory((medium,)))
        edges_s = tuple(frame_edges(medium).tolist())
        frames = tuple(frame.copy() for frame in ImageSequence.Iterator(medium))[frame_numbers(medium).start :]
        return CaptionInput(name, "video", InMemory(frames, edges_s))
    if isinstance(medium, np.ndarray):
        return _array(medium, name)
    if isinstance(medium, Sequence) and len(medium) > 0:
        images = tuple(frame for frame in medium if isinstance(frame, Image.Image))
        paths = tuple(Path(frame) for frame in medium if isinstance(frame, str | Path))
        if len(images) == len(medium):
            return CaptionInput(name, "video", InMemory(images))
        if len(paths) == len(medium):
            return CaptionInput(name, "video", paths)
    raise UsageError(f"{name}: is {medium!r:.60}; {EXPECTED}")


def _array(array: np.ndarray, name: str) -> CaptionInput:
    if array.dtype != np.uint8 or array.ndim not in (3, 4) or array.shape[-1] != 3 or array.size == 0:
        raise UsageError(f"{name}: is an array {array.shape} of {array.dtype}; {EXPECTED}")
    images = tuple(Image.fromarray(frame) for frame in (array if array.ndim == 4 else array[None]))
    return CaptionInput(name, "video" if array.ndim == 4 else "image", InMemory(images))
