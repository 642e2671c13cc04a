"""What a run's model wrote of a few fixed images and videos, as its report shows it."""

from pathlib import Path
from typing import NamedTuple

from aurora_cli.runs.lines import CaptionLine, read_lines

NEWEST = 3
"""Captions of an image that are seen at once."""


class CaptionedSample(NamedTuple):
    """What the model wrote of one image or video, as training went on."""

    id: str
    jpeg: bytes | None
    newest: list[tuple[int, str]]
    """Step and caption, the latest first."""
    older: list[tuple[int, str]]
    reference: str
    """The answer that the data have."""


def captioned_samples(folder: Path) -> list[CaptionedSample]:
    """The samples of the latest file in `runs/<stage>/samples/`, with the captions of all files."""
    captions: dict[int, list[tuple[int, str]]] = {}
    latest: list[CaptionLine] = []
    for file in sorted(folder.glob("step-*.jsonl"), reverse=True):
        lines = list(read_lines(file, CaptionLine))
        latest = latest or lines
        for line in lines:
            captions.setdefault(line.sample, []).append((int(file.stem.removeprefix("step-")), line.caption))
    return [_captioned(line, captions[line.sample], folder / f"{line.sample}.jpg") for line in latest]


def _captioned(line: CaptionLine, captions: list[tuple[int, str]], jpeg: Path) -> CaptionedSample:
    content = jpeg.read_bytes() if jpeg.is_file() else None
    return CaptionedSample(line.id, content, captions[:NEWEST], captions[NEWEST:], line.reference)
