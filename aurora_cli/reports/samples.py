"""What a run's model wrote of a few fixed images and videos, as its report shows it."""

from pathlib import Path
from typing import NamedTuple

from aurora_cli.io.json_files import JsonObject
from aurora_cli.runs.lines import read_objects

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
    latest: list[JsonObject] = []
    for file in sorted(folder.glob("step-*.jsonl"), reverse=True):
        lines = list(read_objects(file))
        latest = latest or lines
        for line in lines:
            captions.setdefault(line["sample"], []).append((int(file.stem.removeprefix("step-")), line["caption"]))
    samples = []
    for line in latest:
        of_one, jpeg = captions[line["sample"]], folder / f"{line['sample']}.jpg"
        content = jpeg.read_bytes() if jpeg.is_file() else None
        samples.append(
            CaptionedSample(str(line["id"]), content, of_one[:NEWEST], of_one[NEWEST:], str(line["reference"]))
        )
    return samples
