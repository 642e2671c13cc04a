"""What an import format is: a name, how a source of it is recognised, and how one is read."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeAlias

from aurora_cli.console import Advance
from aurora_cli.data.importing.item import Item, Refused

Rows: TypeAlias = Iterator[Item | Refused]


@dataclass(frozen=True)
class Options:
    """What the user says of how sources are read."""

    image_column: str | None = None
    video_column: str | None = None
    text_column: str | None = None
    group_column: str | None = None
    question_column: str | None = None
    encoding: str = "utf-8"
    caption_lines: bool = False
    whole_videos: bool = False
    rows: tuple[str, str] | None = None
    """A column, and its value in the rows that are taken."""


class SharedArchive(NamedTuple):
    """A tar whose members are the media."""

    name: str
    """First step of its members' paths in the items."""
    path: Path


@dataclass(frozen=True)
class Opened:
    """A source of which the beginning was looked at."""

    files: tuple[Path, ...]
    """What captions are read from."""
    root: Path
    """What paths of media start from, if nobody says otherwise."""
    about: tuple[str, ...]
    """How it is read, for people."""
    rows: Callable[[Advance], Rows]
    """Reads it from its beginning; each row once, in the same order every time."""
    is_root_known: bool = False
    """Whether media can be nowhere else than in `root`."""
    archives: tuple[SharedArchive, ...] = ()
    """Where the media are, if not in files."""
    takes_rows: bool = False
    """Whether `Options.rows` was heeded."""
    holds_media: bool = False
    """Whether the media lie in the files that captions are read from."""

    @property
    def size(self) -> int:
        """Bytes that reading it advances by."""
        return sum(file.stat().st_size for file in self.files)


class ImportFormat(NamedTuple):
    """A form in which captions are kept."""

    name: str
    """As `--format` takes it."""
    looks_like: str
    """How a source of it looks, for people."""
    suits: Callable[[Path], bool]
    """Whether a source is of this form, by its beginning."""
    open: Callable[[Path, Options], Opened]
    """Raises UsageError where the user must say more, DataError where the source is not of this form."""
    rank: int = 0
    """Of several forms that suit, the one of the lowest rank is taken."""
