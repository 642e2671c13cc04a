"""The rows of all sources, one after the other, into the files of one subset, in memory that hardly grows.

data/<split>/<name>/.media/         a link to each folder of media, indexed tars, copies
data/<split>/<name>/rejected.jsonl  every row that gave no record
data/<split>/<name>/<name>.jsonl    the records
validation/<split>/<name>/          the records that are kept for validation; no step takes them for training data
data/<split>/<name>/import.json     written last
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from aurora_cli.config.importing import ImportSettings
from aurora_cli.config.workspace import Workspace
from aurora_cli.constants import REJECTS_FILE
from aurora_cli.data.annotations.records import Rejection
from aurora_cli.data.importing.item import Item, Refused
from aurora_cli.data.importing.manifest import ImportCounts
from aurora_cli.data.importing.media_source import MediaSource, kind_of
from aurora_cli.data.importing.questions import Questions
from aurora_cli.data.importing.record_lines import RecordLines
from aurora_cli.data.importing.validation import Sides
from aurora_cli.data.media.kinds import MediaKind
from aurora_cli.data.seen import Seen, SeenOnDisk
from aurora_cli.data.token_store.rejected import RejectedRecord
from aurora_cli.io.data_uri import shown
from aurora_cli.pipeline.import_data.embedded import EmbeddedMedia


@dataclass
class Tally:
    """What became of the rows."""

    read: int = 0
    kept: int = 0
    validation: int = 0
    images: int = 0
    videos: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    first_missing: str | None = None
    """Path of the first medium that is not there."""

    def count(self, kind: MediaKind | None, records: int) -> None:
        """Add records that are kept."""
        self.kept += records
        if kind == "image":
            self.images += records
        elif kind == "video":
            self.videos += records

    def counts(self) -> ImportCounts:
        """As a manifest keeps them."""
        counted = {name: value for name, value in vars(self).items() if name != "first_missing"}
        return ImportCounts.model_validate({**counted, "rejected": dict(sorted(self.rejected.items()))})


@dataclass(frozen=True)
class Target:
    """Where the records of one subset go."""

    workspace: Workspace
    split: str
    name: str

    @property
    def folder(self) -> Path:
        return self.workspace.data / self.split / self.name

    @property
    def records(self) -> Path:
        return self.folder / f"{self.name}.jsonl"

    @property
    def rejects(self) -> Path:
        return self.folder / REJECTS_FILE

    @property
    def validation(self) -> Path:
        """Outside data/, so that no step reads it with the subset."""
        return self.workspace.validation / self.split / self.name / f"{self.name}.jsonl"


class RecordMaker:
    """Makes a record of an item, or says why there is none."""

    def __init__(
        self,
        step: ImportSettings,
        questions: Questions,
        embedded: EmbeddedMedia,
        seen: Seen | SeenOnDisk | None = None,
    ) -> None:
        """`seen`: gathers what there was of captions; none: in memory."""
        self._lines = RecordLines(questions)
        self._embedded = embedded
        self._keeps_duplicates = step.duplicates == "keep"
        self._seen = Seen() if seen is None else seen

    def record(self, item: Item, media: MediaSource) -> tuple[bytes, MediaKind | None, list[str]]:
        """Its line, what its media are, and their paths.

        Raises:
            Rejection: it is none.
        """
        if item.messages is None and not item.caption:
            raise Rejection("no_caption", "it is empty")
        if (
            item.content is None
            and not item.contents
            and len(item.media) == 1
            and (found := media.locate(item.media[0], item.kind)) is not None
        ):
            paths, kind = [found], item.kind or kind_of(found)  # of nearly all rows
        else:
            paths, kind = self._located(item, media)
        words = str(item.messages) if item.messages is not None else item.caption
        if item.question is not None:
            words = f"{item.question}\0{words}"
        if not self._keeps_duplicates and not self._seen.add((*paths, item.span, words)):
            raise Rejection("duplicate")
        if item.messages is None:
            line = self._lines.caption(item, paths[0], kind or "image")
        else:
            line = self._lines.conversation(item, paths, kind or "image")
        try:
            return line.encode(), kind, paths
        except UnicodeEncodeError as error:
            raise Rejection("bad_unicode", f"\\u{ord(line[error.start]):04x}") from error

    def _located(self, item: Item, media: MediaSource) -> tuple[list[str], MediaKind | None]:
        if item.content is not None:
            path, kind = self._embedded.write(item.content, item.media[0], item.kind)
            return [path], kind
        if item.contents:
            written = [self._embedded.write(one, "", item.kind) for one in item.contents]
            return [path for path, _ in written], written[0][1]
        paths = []
        for path in item.media:
            found = media.locate(path, item.kind)
            if found is None and item.other is not None:
                found = media.locate(item.other, item.kind)
            if found is None:
                raise Rejection("missing_media", shown(path))
            paths.append(found)
        return paths, item.kind or (kind_of(paths[0]) if paths else None)


class RowWriter:
    """Counts rows, and writes each into the file where it belongs."""

    def __init__(
        self,
        maker: RecordMaker,
        tally: Tally,
        records: IO[bytes],
        rejects: IO[bytes],
        sides: Sides | None = None,
    ) -> None:
        """`sides`: gathers what decides on which side a record lies; `records` is then of both sides."""
        self._maker = maker
        self._records, self._rejects, self._sides = records, rejects, sides
        self._several: dict[int, tuple[Item, MediaKind | None]] = {}
        """Records that may yet be rejected, by their number."""
        self.tally = tally

    def write(self, row: Item | Refused, media: MediaSource) -> list[str] | None:
        """The media of the record that was written; none: the row was rejected."""
        tally = self.tally
        tally.read += 1
        if isinstance(row, Refused):
            self._reject(row)
            return None
        try:
            line, kind, paths = self._maker.record(row, media)
        except Rejection as rejection:
            if rejection.reason == "missing_media":
                tally.first_missing = tally.first_missing or rejection.detail
            self._reject(Refused(row.file, row.line, row.id, rejection.reason, rejection.detail))
            return None
        if self._sides is not None:
            self._sides.add(paths, row.group)
            if len(paths) > 1 and row.group is None:
                self._several[tally.kept] = row._replace(caption="", messages=None, content=None, contents=()), kind
        tally.count(kind, 1)
        self._records.write(line)
        return paths

    def divide(self, every: IO[bytes], trained: IO[bytes], validation: Callable[[], IO[bytes]]) -> None:
        """The lines of both sides, each into the file of its own; `validation` opens that when there is a first."""
        assert self._sides is not None
        every.seek(0)
        kept_apart: IO[bytes] | None = None
        for number, line in enumerate(every):
            try:
                is_for_validation = self._sides.is_for_validation(number)
            except Rejection as rejection:
                row, kind = self._several[number]
                self.tally.count(kind, -1)
                self._reject(Refused(row.file, row.line, row.id, rejection.reason, rejection.detail))
                continue
            if is_for_validation:
                kept_apart = kept_apart or validation()
                self.tally.validation += 1
            (kept_apart if is_for_validation and kept_apart is not None else trained).write(line)

    def _reject(self, row: Refused) -> None:
        self.tally.rejected[row.reason] += 1
        self._rejects.write(RejectedRecord(*row).to_line().encode())
