"""Media of any source in, captions out, in this process: read ahead by a thread, several written at a time."""

import contextlib
import itertools
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, Protocol

from aurora_cli.captioning.caption_stream import Read
from aurora_cli.captioning.captioner import Captioner
from aurora_cli.captioning.inputs import CaptionInput
from aurora_cli.captioning.job.lines import line_of, start_of_line
from aurora_cli.captioning.job.rows import Row
from aurora_cli.captioning.job.source import CaptionerSource
from aurora_cli.captioning.memory import reset_peak_memory
from aurora_cli.captioning.result import CaptionedBatch, Uncaptioned, part_of
from aurora_cli.config.settings import CaptionSettings
from aurora_cli.console import Reporter
from aurora_cli.data.media.animations import is_animation
from aurora_cli.data.media.errors import TooManyBytes
from aurora_cli.data.media.kinds import MediaKind
from aurora_cli.data.media.listing import Medium
from aurora_cli.data.media.remote.http import fetch
from aurora_cli.errors import DataError, UsageError
from aurora_cli.io.prefetch import taken_ahead


class Engine(Protocol):
    """Captions rows, at least one. Results come in the order of the rows, as soon as they are there."""

    def captions(self, rows: Iterator[Row]) -> Iterator[CaptionedBatch]: ...


class RowsOf(NamedTuple):
    """Where rows come from, as what cannot be read is listed."""

    file: str | None
    """A list of media; none: they were named."""
    numbered: bool
    """Whether each has a line of that file, or of the list of all shares."""


class LocalEngine:
    """Captions with the captioner of a source, whose weights are read at the first row."""

    def __init__(self, source: CaptionerSource, caption: CaptionSettings, rows_of: RowsOf, reporter: Reporter) -> None:
        self._source, self._caption, self._rows_of, self._reporter = source, caption, rows_of, reporter
        self._options = source.options(caption)
        self._checked: set[MediaKind] = set()

    def captions(self, rows: Iterator[Row]) -> Iterator[CaptionedBatch]:
        size = self._caption.batch_size
        captioner = self._source.captioner
        reset_peak_memory(captioner.model.device)
        if self._rows_of.file is None:
            first = [*rows]
            self._check_positions(captioner, first)
        else:
            first = [*itertools.islice(rows, min(size, 2))]
        caption = self._one_by_one if size == 1 or len(first) == 1 else self._many
        yield from caption(captioner, itertools.chain(first, rows))

    def _one_by_one(self, captioner: Captioner, rows: Iterator[Row]) -> Iterator[CaptionedBatch]:
        """Each is read and captioned before the next is looked at, and shown piece by piece."""
        for row in rows:
            self._check_positions(captioner, [row])
            read = self._read(captioner, row)
            start = start_of_line(row.medium.name, part_of(row.span))
            with self._reporter.stream_pieces(start) as write:
                (batch,) = captioner.captions([read], self._options, batch_size=1, on_text=write)
                if write is not None and batch.uncaptioned:
                    write("-")
            yield batch

    def _many(self, captioner: Captioner, rows: Iterator[Row]) -> Iterator[CaptionedBatch]:
        """A thread fetches and reads ahead while others are captioned; each is shown when those before it are."""
        size = self._caption.batch_size
        read = taken_ahead(lambda: ((row, self._read(captioner, row)) for row in rows), size, waits=False)
        for batch in captioner.captions(self._with_positions_checked(captioner, read), self._options, batch_size=size):
            for caption in batch.captions:
                self._reporter.stream_line(line_of(caption))
            yield batch

    def _with_positions_checked(
        self, captioner: Captioner, reads: Iterator[tuple[Row, Read | Uncaptioned]]
    ) -> Iterator[Read | Uncaptioned]:
        for row, read in reads:
            self._check_positions(captioner, [row])
            yield read

    def _read(self, captioner: Captioner, row: Row) -> Read | Uncaptioned:
        """The medium of a row, from wherever it lies. What cannot be read is told with the row's file and line."""
        name = row.medium.name
        with _folder_for(row.medium) as folder:
            try:
                medium = _local(row.medium, folder, int(self._caption.max_remote_mb * 1e6))
                read = captioner.read(_input_of(row, medium), self._options)
            except DataError as error:
                setting = " (caption.max_remote_mb)" if isinstance(error, TooManyBytes) else ""
                reason = f"{error.message.removeprefix(f'{name}: ')}{setting}"
                read = Uncaptioned(name, reason, row.id, part_of(row.span))
        if not isinstance(read, Uncaptioned) or not self._rows_of.numbered:
            return read
        return replace(read, file=self._rows_of.file, line=row.line)

    def _check_positions(self, captioner: Captioner, rows: Sequence[Row]) -> None:
        """Warn where captions may become too long, once a kind of medium. Of a list, too long a prompt is its row's."""
        kinds: set[MediaKind] = {row.medium.kind for row in rows}
        kinds -= self._checked
        self._checked |= kinds
        with contextlib.nullcontext() if self._rows_of.file is None else contextlib.suppress(UsageError):
            for warning in captioner.check_positions(kinds, self._options):
                self._reporter.warning(warning)


def _local(medium: Medium, folder: Path, max_bytes: int) -> Medium:
    """The medium as files of this machine.

    Raises:
        DataError: it cannot be fetched.
    """
    if medium.content is not None:
        return _written(medium, medium.content, folder)
    return fetch(medium, folder, max_bytes) if medium.is_remote else medium


def _input_of(row: Row, medium: Medium) -> CaptionInput:
    return CaptionInput(medium.name, medium.kind, medium.frames or medium.path, row.span, row.prompt, row.id)


def _written(medium: Medium, content: bytes, folder: Path) -> Medium:
    """An image that no file held, as a file; of several frames it is a video."""
    path = folder / medium.location
    path.write_bytes(content)
    return Medium(medium.name, str(path), "video" if is_animation(path, path.name) else medium.kind)


@contextlib.contextmanager
def _folder_for(medium: Medium) -> Iterator[Path]:
    """Where a medium that is no file here lies while it is captioned; only made for such a one."""
    if medium.is_remote or medium.content is not None:
        with tempfile.TemporaryDirectory(prefix="aurora-") as folder:
            yield Path(folder)
    else:
        yield Path()
