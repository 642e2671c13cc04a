"""What is captioned by which model, and what came of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aurora_cli.captioning.job.caption_keys import DONE, NEW, REPEATED, CaptionKeys
from aurora_cli.captioning.job.key_hashes import hashes_of
from aurora_cli.captioning.job.parts import Part
from aurora_cli.captioning.job.rows import Row, RowReader, row_of
from aurora_cli.captioning.result import Caption, Uncaptioned
from aurora_cli.console import Reporter
from aurora_cli.data.media.listing import Medium, list_media, passed_over
from aurora_cli.data.media.remote.roots import objects_named
from aurora_cli.io.urls import is_url

SHOWN = 5
"""Files passed over that are named."""


@dataclass(frozen=True)
class CaptionRequest:
    """The media to caption, the model, and the file that the captions go to."""

    model: str
    media: tuple[Row, ...]
    """As the rows of a list of them would be."""
    output: Path | None
    rows: RowReader | None = None
    """The media, where a file lists them: there may be any number of them."""
    part: Part | None = None
    """The part of the output that a share of the media becomes; none: all media are here, and go to the output."""


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


class NamedRows:
    """Media that were named, as `RowReader` has those of a list."""

    def __init__(self, rows: Sequence[Row], total: int | None = None) -> None:
        """`total`: of all shares; none: these are all."""
        self._rows = rows
        self.own = len(rows)
        self.total = self.own if total is None else total
        self.done = self.repeated = 0

    def unmarked(self, keys: CaptionKeys) -> Iterator[Row]:
        """Each row that is new; all are marked, and counted."""
        for row in self._rows:
            state = keys.mark(hashes_of([row.key]), np.array([row.line]))[0]
            self.done += int(state == DONE)
            self.repeated += int(state == REPEATED)
            if state == NEW:
                yield row


def named_rows(given: Sequence[str], root: Path, reporter: Reporter, *, allow_remote: bool = False) -> tuple[Row, ...]:
    """The media that a user names: files, folders of them, patterns, addresses, objects in buckets and folders of them.

    Raises:
        UsageError: an address where none is allowed, or a pattern or folder without media.
    """
    media: dict[str, Medium] = {}
    for name in given:
        named = objects_named(name) if is_url(name) else list_media([name], root, allow_remote=allow_remote)
        for medium in named:
            media.setdefault(medium.location, medium)
    if others := passed_over(given, root):
        files = "1 file is" if len(others) == 1 else f"{len(others):,} files are"
        some = ", ".join(others[:SHOWN]) + (", ..." if len(others) > SHOWN else "")
        reporter.warning(f"{files} neither image nor video by the name, and passed over: {some}")
    return tuple(row_of(medium, number=number) for number, medium in enumerate(media.values(), start=1))
