"""What a run's model wrote of a few fixed images and videos, as its report shows it."""

from pathlib import Path
from typing import NamedTuple

from aurora_cli.runs.lines import CaptionLine, read_lines

FILES = "step-*.jsonl"
SHOWN_FRAMES = 3
"""Of a sample, in its image."""

NEWEST = 3
"""Captions of an image that are seen at once."""


class NewestCaptions(NamedTuple):
    """What was written of the samples at last."""

    step: int
    lines: list[CaptionLine]


class CaptionedSample(NamedTuple):
    """What the model wrote of one image or video, as training went on."""

    id: str
    jpeg: bytes | None
    newest: list[tuple[int, str]]
    """Step and caption, the latest first."""
    older: list[tuple[int, str]]
    reference: str
    """The answer that the data have."""
    frames: int = 1
    """Beside each other in the image."""


def newest_captions(folder: Path, than: int = -1) -> NewestCaptions | None:
    """The captions of the latest step in `runs/<stage>/samples/`; none if there are none newer `than` a step."""
    file = max(folder.glob(FILES), default=None)
    if file is None or step_of(file) <= than:
        return None
    return NewestCaptions(step_of(file), list(read_lines(file, CaptionLine)))


def step_of(file: Path) -> int:
    return int(file.stem.removeprefix("step-"))


def captioned_samples(folder: Path) -> list[CaptionedSample]:
    """The samples of the latest file in `runs/<stage>/samples/`, with the captions of all files."""
    captions: dict[int, list[tuple[int, str]]] = {}
    latest: list[CaptionLine] = []
    for file in sorted(folder.glob(FILES), reverse=True):
        lines = list(read_lines(file, CaptionLine))
        latest = latest or lines
        for line in lines:
            captions.setdefault(line.sample, []).append((step_of(file), line.caption))
    return [_captioned(line, captions[line.sample], folder / f"{line.sample}.jpg") for line in latest]


def _captioned(line: CaptionLine, captions: list[tuple[int, str]], jpeg: Path) -> CaptionedSample:
    content = jpeg.read_bytes() if jpeg.is_file() else None
    frames = min(SHOWN_FRAMES, max(1, sum(line.frames)))
    return CaptionedSample(line.id, content, captions[:NEWEST], captions[NEWEST:], line.reference, frames)
