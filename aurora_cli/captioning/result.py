"""What captioning gives: a caption, or the reason why there is none."""

from dataclasses import dataclass
from typing import Literal, NamedTuple

MediaKind = Literal["image", "video"]


@dataclass(frozen=True)
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

    @property
    def tokens_per_frame(self) -> float:
        """Visual tokens of a frame: their mean where slow-fast keeps the first one whole."""
        return self.visual_tokens / self.frames


@dataclass(frozen=True)
class Uncaptioned:
    """An image or video that could not be captioned."""

    media: str
    """As in `Caption`."""

    reason: str
    """Why not."""


class CaptionedBatch(NamedTuple):
    """A batch's captions and, of the media that cannot be read, the reasons; each in the order of the inputs."""

    captions: list[Caption]
    uncaptioned: list[Uncaptioned]
