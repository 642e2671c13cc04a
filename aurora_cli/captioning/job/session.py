"""One run over a request's media: what the output holds already, then the rest, several at a time."""

import contextlib
import hashlib
import itertools
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from aurora_cli.captioning.caption_stream import Read
from aurora_cli.captioning.captioner import Captioner
from aurora_cli.captioning.inputs import CaptionInput
from aurora_cli.captioning.job.caption_keys import DONE, NEW
from aurora_cli.captioning.job.key_hashes import hashes_of
from aurora_cli.captioning.job.lines import line_of, start_of_line
from aurora_cli.captioning.job.output import CaptionFile, CaptionOutput, key_of
from aurora_cli.captioning.job.part_output import PartFile
from aurora_cli.captioning.job.request import Captioned, CaptionRequest
from aurora_cli.captioning.job.rows import Row
from aurora_cli.captioning.job.source import CaptionerSource
from aurora_cli.captioning.memory import reset_peak_memory
from aurora_cli.captioning.options import CaptionOptions
from aurora_cli.captioning.result import Caption, CaptionedBatch, MediaKind, Uncaptioned, part_of
from aurora_cli.checkpoints.checkpoint import OpenedCheckpoint
from aurora_cli.checkpoints.facts import file_stamps
from aurora_cli.config.settings import CaptionSettings
from aurora_cli.console import Reporter
from aurora_cli.data.annotations.keys import key_lines
from aurora_cli.data.media.animations import is_animation
from aurora_cli.data.media.listing import Medium
from aurora_cli.data.media.remote import fetch
from aurora_cli.errors import DataError, UsageError
from aurora_cli.io.prefetch import taken_ahead
from aurora_cli.models.config import beyond_trained

WARNED = 20
"""Rows of a list that are warned of if they could not be captioned; its output lists all."""


class CaptionSession:
    """Captions the media of a request. The weights are read only if there is something to caption.

    `caption` says how; where they differ from the settings that the source has, these count.
    """

    def __init__(
        self, source: CaptionerSource, request: CaptionRequest, caption: CaptionSettings, reporter: Reporter
    ) -> None:
        self._source, self._request, self._caption, self._reporter = source, request, caption, reporter
        self._options = source.options(caption)
        if warning := beyond_trained(self._options.merging.kept_ratio, source.checkpoint.trained_ratios):
            reporter.warning(warning)
        self._output = open_output(request, fingerprint(source.checkpoint, self._options))
        self._uncaptioned: list[Uncaptioned] = []
        self._checked: set[MediaKind] = set()
        self._rows = self._reused = self._repeated = self._skipped = 0

    def run(self) -> Captioned:
        """Caption what the output lacks. Each caption is in the output as soon as those before it are."""
        request, reporter = self._request, self._reporter
        if self._output.replaced:
            reporter.info(
                f"{request.output}: {self._output.replaced:,} captions by another model or other settings are made anew"
            )
        decoding = self._options.decoding
        if decoding.top_p < 1 and decoding.temperature == 0:
            reporter.warning(f"--top-p {decoding.top_p:g} changes nothing at --temperature 0, where no words are drawn")
        captions = {key_of(caption): caption for caption in self._held()}
        for caption in captions.values():
            reporter.stream_line(line_of(caption))
        made = 0
        for batch in self._batches(self._todo()):
            self._output.add(batch.captions)
            made += len(batch.captions)
            self._uncaptioned += batch.uncaptioned
            if request.rows is None or request.output is None:
                captions |= {key_of(caption): caption for caption in batch.captions}
        if request.rows is not None:  # rows that are no media were found by the thread that reads ahead
            self._uncaptioned.sort(key=lambda each: each.line or 0)
        if (rows := request.rows) is not None:
            self._rows, self._reused, self._repeated = rows.own, rows.done, rows.repeated
        self._output.close(self._uncaptioned, {"model": request.model, **self._options.to_json()}, self._total)
        if request.rows is not None and request.rows.keys.warned:
            reporter.warning(key_lines({}, request.rows.keys.warned)[0].strip())
        return Captioned(
            tuple(captions[row.key] for row in request.media if row.key in captions)
            if request.rows is None
            else tuple(captions.values()),
            tuple(self._uncaptioned),
            made,
            self._reused,
            self._rows,
            self._repeated,
        )

    @property
    def _total(self) -> int:
        """Media of all shares, once all of this one are read."""
        request = self._request
        if request.rows is not None:
            return request.rows.total
        return self._rows if request.part is None or request.part.total is None else request.part.total

    def _held(self) -> list[Caption]:
        """Captions of the media named that the output holds, in their order."""
        media = self._request.media
        held = {key_of(caption): caption for caption in self._output.held({row.key for row in media})}
        return [held[row.key] for row in media if row.key in held]

    def _todo(self) -> Iterator[Row]:
        """What the output lacks, each once; what is no row is counted."""
        media = self._new_media() if self._request.rows is None else self._request.rows.unmarked(self._output.keys)
        for row in media:
            if isinstance(row, Uncaptioned):
                self._skip(row)
                self._uncaptioned.append(row)
            else:
                self._output.expect(row.key, row.line)
                yield row

    def _new_media(self) -> Iterator[Row]:
        """The media named that the output lacks, each once; all are counted."""
        for row in self._request.media:
            self._rows += 1
            state = self._output.keys.mark(hashes_of([row.key]), np.array([row.line]))[0]
            if state == NEW:
                yield row
            elif state == DONE:
                self._reused += 1
            else:
                self._repeated += 1

    def _skip(self, uncaptioned: Uncaptioned) -> None:
        self._skipped += 1
        if self._request.rows is None or self._skipped <= WARNED:
            where = "" if uncaptioned.file is None else f"{uncaptioned.file}:{uncaptioned.line}: "
            self._reporter.warning(f"{where}{uncaptioned.media}: skipped: {uncaptioned.reason}")

    def _batches(self, todo: Iterator[Row]) -> Iterator[CaptionedBatch]:
        size = self._caption.batch_size
        rows = list(itertools.islice(todo, min(size, 2)))
        if not rows:
            return
        self._output.add(())  # shows before the work, not after it, whether the file can be written
        captioner = self._source.captioner
        reset_peak_memory(captioner.model.device)
        total = None
        if self._request.rows is None:
            rows += todo
            self._check_positions(captioner, rows)
            total = len(rows)
        everything = itertools.chain(rows, todo)
        caption = self._one_by_one if size == 1 or len(rows) == 1 else self._many
        with self._reporter.progress("captioning", total, "media") as advance:
            for batch in caption(captioner, everything):
                for each in batch.uncaptioned:
                    self._skip(each)
                yield batch
                advance(len(batch.captions) + len(batch.uncaptioned))

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
        with _folder_for_remote([row.medium]) as folder:
            local, missing = fetch_remote([row], folder, int(self._caption.max_remote_mb * 1e6))
            read = missing[0] if missing else captioner.read(_input_of(local[0]), self._options)
        if not isinstance(read, Uncaptioned):
            return read
        if self._request.rows is not None:
            return replace(read, file=str(self._request.rows.path), line=row.line)
        return read if self._request.part is None else replace(read, line=row.line)

    def _check_positions(self, captioner: Captioner, rows: Sequence[Row]) -> None:
        """Warn where captions may become too long, once a kind of medium. Of a list, too long a prompt is its row's."""
        kinds: set[MediaKind] = {row.medium.kind for row in rows}
        kinds -= self._checked
        self._checked |= kinds
        with contextlib.nullcontext() if self._request.rows is None else contextlib.suppress(UsageError):
            for warning in captioner.check_positions(kinds, self._options):
                self._reporter.warning(warning)


def open_output(request: CaptionRequest, made_by: str) -> CaptionOutput:
    """Where the captions of a request go, with what is there already."""
    rows = 0 if request.rows is None else request.rows.expected()
    if request.part is not None:
        return PartFile(request.part, made_by, rows)
    return CaptionOutput() if request.output is None else CaptionFile(request.output, made_by, rows)


def fingerprint(checkpoint: OpenedCheckpoint, options: CaptionOptions) -> str:
    """A short name of the model's files and of all options."""
    facts = [sorted(file_stamps(checkpoint.files).items()), options.to_json()]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def fetch_remote(rows: Sequence[Row], folder: Path, max_bytes: int) -> tuple[list[Row], list[Uncaptioned]]:
    """The rows with their media as files of this machine, and the reasons of those that could not be fetched."""
    local: list[Row] = []
    missing: list[Uncaptioned] = []
    for row in rows:
        medium = row.medium
        try:
            if medium.content is not None:
                row = row._replace(medium=_written(medium, medium.content, folder))
            local.append(row._replace(medium=fetch(medium, folder, max_bytes)) if medium.is_remote else row)
        except DataError as error:
            reason = error.message.removeprefix(f"{medium.name}: ")
            missing.append(Uncaptioned(medium.name, reason, row.id, part_of(row.span)))
    return local, missing


def _input_of(row: Row) -> CaptionInput:
    medium = row.medium
    return CaptionInput(medium.name, medium.kind, medium.frames or medium.path, row.span, row.prompt, row.id)


def _written(medium: Medium, content: bytes, folder: Path) -> Medium:
    """An image that no file held, as a file; of several frames it is a video."""
    path = folder / medium.path
    path.write_bytes(content)
    return Medium(medium.name, path, "video" if is_animation(path, path.name) else medium.kind)


@contextlib.contextmanager
def _folder_for_remote(media: Sequence[Medium]) -> Iterator[Path]:
    """Where media that are no files here lie while they are captioned; only made if there are any."""
    if any(medium.is_remote or medium.content is not None for medium in media):
        with tempfile.TemporaryDirectory(prefix="aurora-") as folder:
            yield Path(folder)
    else:
        yield Path()
