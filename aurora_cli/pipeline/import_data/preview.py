"""`aurora import --dry-run`: how each source is read, and its first records as they would be asked and answered."""

from collections import Counter
from pathlib import Path

from aurora_cli.config.importing import ImportSettings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import unheard
from aurora_cli.data.annotations.records import Rejection
from aurora_cli.data.importing.item import Item, Refused
from aurora_cli.data.importing.media_source import MediaSource
from aurora_cli.data.importing.questions import Questions
from aurora_cli.data.media.kinds import MediaKind
from aurora_cli.pipeline.import_data.embedded import EmbeddedMedia
from aurora_cli.pipeline.import_data.result import ImportResult, SampleRecord
from aurora_cli.pipeline.import_data.sources import SourceToImport
from aurora_cli.pipeline.import_data.write import RecordMaker, Target

SAMPLES = 5
ROWS_LOOKED_AT = 2_000


class SampledMedia:
    """The media of the sampled records, for a page."""

    def __init__(self, embedded: EmbeddedMedia) -> None:
        self._embedded = embedded
        self.found: list[list[tuple[str, Path | bytes]]] = []

    def add(self, paths: list[str], media: MediaSource) -> None:
        contents = self._embedded.contents
        self.found.append([(path, contents[path] if path in contents else media.open(path)) for path in paths])


def preview(
    target: Target, sources: list[SourceToImport], step: ImportSettings, questions: Questions, workspace: Workspace
) -> ImportResult:
    """Look at the first rows; write nothing, but the page if one is named."""
    embedded = EmbeddedMedia(None)
    maker = RecordMaker(step, questions, embedded)
    samples: list[SampleRecord] = []
    media_found = SampledMedia(embedded)
    rejected: Counter[str] = Counter()
    read, first_missing = 0, None
    for source in sources:
        media = source.preview_media()
        wanted = -(-(SAMPLES - len(samples)) // (len(sources) - sources.index(source)))
        before = len(samples)
        for row in source.opened.rows(unheard):
            if len(samples) - before >= wanted or read >= ROWS_LOOKED_AT:
                break
            read += 1
            if isinstance(row, Refused):
                rejected[row.reason] += 1
                continue
            try:
                _, kind, paths = maker.record(row, media)
            except Rejection as rejection:
                rejected[rejection.reason] += 1
                if rejection.reason == "missing_media":
                    first_missing = first_missing or rejection.detail
                continue
            samples.append(_sample(row, kind, paths, questions))
            if step.html is not None:
                media_found.add(paths, media)
    html = None
    if step.html is not None:
        from aurora_cli.pipeline.import_data.preview_page import write_page

        html = workspace.path(step.html)
        write_page(html, target, sources, samples, media_found.found, dict(rejected))
    return ImportResult(
        output=str(target.records),
        split=target.split,
        name=target.name,
        sources=[line for source in sources for line in source.about],
        read=read,
        kept=len(samples),
        rejected=dict(rejected),
        first_missing=first_missing,
        samples=tuple(samples),
        html=None if html is None else str(html),
        dry_run=True,
    )


def _sample(item: Item, kind: MediaKind | None, paths: list[str], questions: Questions) -> SampleRecord:
    if item.messages is None:
        question = item.question or questions.draw(item.id, kind or "image")
        return SampleRecord(item.id, list(item.media), kind, question, item.caption, item.span)
    question = next((turn.text for turn in item.messages if turn.role == "human"), "")
    answer = next((turn.text for turn in item.messages if turn.role == "gpt"), "")
    return SampleRecord(item.id, list(item.media), kind if paths else None, question, answer, item.span)
