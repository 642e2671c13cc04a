"""One run over a request's media: what the output holds already, then the rest, several at a time."""

import hashlib
import itertools
import json
from collections.abc import Iterator

import numpy as np

from aurora_cli.captioning.engines.local import Engine, LocalEngine, RowsOf
from aurora_cli.captioning.job.caption_keys import DONE, NEW
from aurora_cli.captioning.job.key_hashes import hashes_of
from aurora_cli.captioning.job.lines import line_of
from aurora_cli.captioning.job.output import CaptionFile, CaptionOutput, differences, key_of
from aurora_cli.captioning.job.part_output import PartFile
from aurora_cli.captioning.job.request import Captioned, CaptionRequest
from aurora_cli.captioning.job.rows import Row
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
        self._uncaptioned: list[Uncaptioned] = []
        self._rows = self._reused = self._repeated = self._skipped = 0

    def run(self) -> Captioned:
        """Caption what the output lacks. Each caption is in the output as soon as those before it are."""
        request, reporter = self._request, self._reporter
        if self._output.replaced:
            before = self._output.settings_before()
            changed = "; ".join(differences(before, self._settings)) if before else ""
            reporter.info(
                f"{request.output}: {self._output.replaced:,} captions by another model or other settings are made anew"
                + (f": {changed}" if changed else "")
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
        self._output.close(self._uncaptioned, self._settings, self._total)
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
