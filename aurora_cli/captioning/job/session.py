"""One run over a request's media: what the output holds already, then the rest, several at a time."""

import hashlib
import itertools
import json
from collections.abc import Iterator

from aurora_cli.captioning.engines.local import Engine, LocalEngine, RowsOf
from aurora_cli.captioning.job.key_hashes import CaptionKey
from aurora_cli.captioning.job.lines import line_of
from aurora_cli.captioning.job.output import CaptionFile, CaptionOutput, differences, key_of
from aurora_cli.captioning.job.part_output import PartFile
from aurora_cli.captioning.job.request import Captioned, CaptionRequest, NamedRows
from aurora_cli.captioning.job.rows import Row, RowReader
from aurora_cli.captioning.job.source import CaptionerSource
from aurora_cli.captioning.options import CaptionOptions
from aurora_cli.captioning.result import Caption, CaptionedBatch, Uncaptioned
from aurora_cli.checkpoints.checkpoint import OpenedCheckpoint
from aurora_cli.checkpoints.facts import file_stamps
from aurora_cli.config.settings import CaptionSettings
from aurora_cli.console import Reporter
from aurora_cli.data.annotations.keys import key_lines
from aurora_cli.io.json_files import JsonObject
from aurora_cli.models.config import beyond_trained

WARNED = 20
"""Rows of a list that are warned of if they could not be captioned; its output lists all."""


class CaptionSession:
    """Captions the media of a request. The weights are read only if there is something to caption.

    `caption` says how; where they differ from the settings that the source has, these count. `engine` is who captions;
    none: this process, with the source's captioner.
    """

    def __init__(
        self,
        source: CaptionerSource,
        request: CaptionRequest,
        caption: CaptionSettings,
        reporter: Reporter,
        engine: Engine | None = None,
    ) -> None:
        self._request, self._reporter = request, reporter
        self._options = source.options(caption)
        if warning := beyond_trained(self._options.merging.kept_ratio, source.checkpoint.trained_ratios):
            reporter.warning(warning)
        self._engine = engine or LocalEngine(source, caption, rows_of(request), reporter)
        self._output = open_output(request, fingerprint(source.checkpoint, self._options, caption.dtype))
        settings = {"model": request.model, **self._options.to_json(), "dtype": caption.dtype}
        self._settings: JsonObject = json.loads(json.dumps(settings))  # as they are read again
        self._rows = request.rows or NamedRows(request.media, None if request.part is None else request.part.total)
        self._uncaptioned: list[Uncaptioned] = []
        self._skipped = 0

    def run(self) -> Captioned:
        """Caption what the output lacks. Each caption is in the output as soon as those before it are."""
        request, rows = self._request, self._rows
        self._tell_beforehand()
        captions = self._held()
        for caption in captions.values():
            self._reporter.stream_line(line_of(caption))
        made = 0
        for batch in self._batches(self._todo()):
            self._output.add(batch.captions)
            made += len(batch.captions)
            self._uncaptioned += batch.uncaptioned
            if request.rows is None or request.output is None:
                captions |= {key_of(caption): caption for caption in batch.captions}
        # rows that are no media were found by the thread that reads ahead
        self._uncaptioned.sort(key=lambda each: each.line or 0)
        self._output.close(self._uncaptioned, self._settings, rows.total)
        if isinstance(rows, RowReader) and rows.keys.warned:
            self._reporter.warning(key_lines({}, rows.keys.warned)[0].strip())
        keys = captions if isinstance(rows, RowReader) else [row.key for row in request.media if row.key in captions]
        return Captioned(
            captions=tuple(captions[key] for key in keys),
            uncaptioned=tuple(self._uncaptioned),
            made=made,
            reused=rows.done,
            rows=rows.own,
            repeated=rows.repeated,
        )

    def _tell_beforehand(self) -> None:
        """Which captions of the output are made anew, and which setting changes nothing."""
        if self._output.replaced:
            before = self._output.settings_before()
            changed = "; ".join(differences(before, self._settings)) if before else ""
            self._reporter.info(
                f"{self._request.output}: {self._output.replaced:,} captions by another model or other settings are"
                f" made anew{': ' * bool(changed)}{changed}"
            )
        decoding = self._options.decoding
        if decoding.top_p < 1 and decoding.temperature == 0:
            self._reporter.warning(
                f"--top-p {decoding.top_p:g} changes nothing at --temperature 0, where no words are drawn"
            )

    def _held(self) -> dict[CaptionKey, Caption]:
        """Captions of the media named that the output holds, in their order."""
        media = self._request.media
        held = {key_of(caption): caption for caption in self._output.held({row.key for row in media})}
        return {row.key: held[row.key] for row in media if row.key in held}

    def _todo(self) -> Iterator[Row]:
        """What the output lacks, each once; what is no row is listed."""
        for row in self._rows.unmarked(self._output.keys):
            if isinstance(row, Uncaptioned):
                self._skip(row)
                self._uncaptioned.append(row)
            else:
                self._output.expect(row.key, row.line)
                yield row

    def _skip(self, uncaptioned: Uncaptioned) -> None:
        self._skipped += 1
        if self._request.rows is None or self._skipped <= WARNED:
            where = "" if uncaptioned.file is None else f"{uncaptioned.file}:{uncaptioned.line}: "
            self._reporter.warning(f"{where}{uncaptioned.media}: skipped: {uncaptioned.reason}")

    def _batches(self, todo: Iterator[Row]) -> Iterator[CaptionedBatch]:
        rows = list(itertools.islice(todo, 1))
        if not rows:
            return
        self._output.add(())  # shows before the work, not after it, whether the file can be written
        total = None
        if self._request.rows is None:
            rows += todo
            total = len(rows)
        with self._reporter.progress("captioning", total, "media") as advance:
            for batch in self._engine.captions(itertools.chain(rows, todo)):
                for each in batch.uncaptioned:
                    self._skip(each)
                yield batch
                advance(len(batch.captions) + len(batch.uncaptioned))


def open_output(request: CaptionRequest, made_by: str) -> CaptionOutput:
    """Where the captions of a request go, with what is there already."""
    rows = 0 if request.rows is None else request.rows.expected()
    if request.part is not None:
        return PartFile(request.part, made_by, rows)
    return CaptionOutput() if request.output is None else CaptionFile(request.output, made_by, rows)


def rows_of(request: CaptionRequest) -> RowsOf:
    """Where a request's rows come from."""
    file = None if request.rows is None else request.rows.name
    return RowsOf(file, numbered=file is not None or request.part is not None)


def fingerprint(checkpoint: OpenedCheckpoint, options: CaptionOptions, dtype: str | None) -> str:
    """A short name of the model's files, of all options, and of the weights' type if one was asked for."""
    facts: list[object] = [sorted(file_stamps(checkpoint.files).items()), options.to_json()]
    if dtype is not None:
        facts.append(dtype)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
