"""What is captioned by which model, and what came of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from aurora_cli.captioning.job.rows import Row, RowReader
from aurora_cli.captioning.result import Caption, Uncaptioned


@dataclass(frozen=True)
class CaptionRequest:
    """The media to caption, the model, and the file that the captions go to."""

    model: str
    media: tuple[Row, ...]
    """As the rows of a list of them would be."""
    output: Path | None
    rows: RowReader | None = None
    """The media, where a file lists them: there may be any number of them."""


class Captioned(NamedTuple):
    """What a session did."""

    captions: tuple[Caption, ...]
    """In the order of the media. Of a list of media with an output none: they are there, and may be many."""
    uncaptioned: tuple[Uncaptioned, ...]
    made: int
    """Captions that this session made."""
    reused: int
    """Captions that the output held already."""
    rows: int
    repeated: int
    """Rows that are the same as an earlier one."""
