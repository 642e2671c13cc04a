"""What captioning gives: a caption, or the reason why there is none."""

import math
from dataclasses import dataclass, field
from typing import NamedTuple

from aurora_cli.data.media.kinds import MediaKind

Part = tuple[float, float | None]
"""Seconds of a video, from and to; no end: to its own."""


def part_of(span: tuple[float, float] | None) -> Part | None:
    """A span as results have it: without infinity, which JSON does not know.

    >>> part_of((3.0, 7.5)), part_of((3.0, math.inf)), part_of(None)
    ((3.0, 7.5), (3.0, None), None)
    """
    return None if span is None else (span[0], None if math.isinf(span[1]) else span[1])


@dataclass(frozen=True, slots=True)
class CaptionCost:
    """What a caption took of the machine: of what was done for several at once, its share."""

    prefill_s: float | None
    """Vision tower, projector and prompt, up to the first token; None: not measured apart (beam search)."""

    decode_s: float
    """The tokens behind it."""

    peak_memory_mb: float
    """The most that the process held so far, on a GPU that the device did: weights and all."""


@dataclass(frozen=True, slots=True)
class Caption:
    """The caption of one image or video, and what it took."""

    media: str
    """The file or folder as it was named; `media[3]` is the fourth of a list that lay in memory."""

    kind: MediaKind
    """What it is."""

    caption: str
    """The text."""

    frames: int
    """Frames that the vision tower looked at; 1 of an image."""

    visual_tokens: int
    """Tokens of all frames together, as the language model reads them."""

    prompt_tokens: int
    """Tokens of the prompt, without the visual ones."""

    new_tokens: int
    """Tokens of the caption."""

    seconds: float
    """Reading and generating, a medium's share of its batch."""

    id: str | int | None = None
    """Of the row of a list of media; none: the medium was named alone."""

    span: Part | None = None
    """Seconds of the video that were captioned, from and to; no end: to its own. None: all of it."""

    prompt: str | None = None
    """The question about this medium alone; none: that of all."""

    cost: CaptionCost | None = field(default=None, compare=False)
    """None: not measured."""

    @property
    def tokens_per_frame(self) -> float:
        """Visual tokens of a frame: their mean where slow-fast keeps the first one whole."""
        return self.visual_tokens / self.frames


@dataclass(frozen=True, slots=True)
class Uncaptioned:
    """An image or video that could not be captioned."""

    media: str
    """As in `Caption`."""

    reason: str
    """Why not."""

    id: str | int | None = None
    """As in `Caption`."""

    span: Part | None = None
    """As in `Caption`."""

    file: str | None = None
    """The list of media that it is a row of."""

    line: int | None = None
    """Of that file."""


class CaptionedBatch(NamedTuple):
    """A batch's captions and, of the media that cannot be read, the reasons; each in the order of the inputs."""

    captions: list[Caption]
    uncaptioned: list[Uncaptioned]
