"""`aurora import`: captioned images and videos of any form into a subset that the other steps find by themselves.

What is there is compared with what was imported before: the same is left alone, a changed source is named. A run that
was killed leaves files that are whole, and the next does all of it again.
"""

import re
import time
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.data.importing.manifest import MANIFEST, ImportedSource, ImportManifest
from aurora_cli.data.importing.media_source import MEDIA_FOLDER, link_folder
from aurora_cli.data.importing.questions import Questions, read_questions
from aurora_cli.data.importing.validation import Sides
from aurora_cli.data.seen import SeenOnDisk
from aurora_cli.errors import DataError, UsageError
from aurora_cli.io.atomic import atomic_write, disk_errors, write_text
from aurora_cli.io.durability import sync_filesystem
from aurora_cli.io.json_files import JsonObject
from aurora_cli.io.locks import file_lock
from aurora_cli.pipeline.import_data.before import (
    BEGUN,
    check_apart,
    check_owner,
    check_unchanged,
    compare,
    entries_of,
)
from aurora_cli.pipeline.import_data.embedded import EmbeddedMedia
from aurora_cli.pipeline.import_data.media import begin_media, media_of
from aurora_cli.pipeline.import_data.result import ImportResult, MediaSummary
from aurora_cli.pipeline.import_data.sample import MediaSample
from aurora_cli.pipeline.import_data.sources import SourceToImport, open_sources
from aurora_cli.pipeline.import_data.write import RecordMaker, RowWriter, Tally, Target

DECIDING = (
    "validation", "duplicates", "image_column", "video_column", "text_column", "group_column",
    "question_column", "encoding", "caption_lines", "copy_files", "whole_videos", "rows",
)  # fmt: skip
"""Settings that decide what the records are, beside the sources and the questions."""


class _NothingKept(Exception):
    """There is no record to write."""


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> ImportResult:
    """Import the sources that the settings name.

    Raises:
        UsageError: it is unclear how a source is read; a source or a setting is not what it was; the name is taken.
        DataError: there is no such source, or nothing in it that can be imported.
        HostError: the disk is full or cannot be written; the same command goes on from there.
    """
    step, workspace = settings.import_data, Workspace(settings.workspace)
    if step.html is not None and not dry_run:
        raise UsageError("--html: shows what would be imported; it does nothing without --dry-run")
    questions = read_questions(None if step.prompts is None else workspace.path(step.prompts))
    sources = open_sources(step, workspace)
    target = Target(workspace, step.split, step.name or name_of(sources[0].path))
    check_apart(target, sources)
    if dry_run:
        from aurora_cli.pipeline.import_data.preview import preview

        return preview(target, sources, step, questions, workspace)
    began = time.perf_counter()
    check_owner(target)
    with file_lock(target.folder, "aurora import"):
        former = None if step.force else ImportManifest.read_if_there(target.folder / MANIFEST)
        entries = entries_of(sources, workspace, former)
        deciding = {name: getattr(step, name) for name in DECIDING} | {"questions": list(map(list, questions))}
        if former is not None:
            compare(former, entries, deciding, target)
            if _is_whole(former, workspace):
                return _result(target, sources, former, began, done_before=True)
        for source in sources:
            for line in source.about:
                reporter.info(line)
        sample = MediaSample(step.check_sample) if step.check_media else None
        tally = write_all(settings, target, sources, questions, reporter, sample)
        manifest = _finish(target, entries, deciding, tally)
        check_unchanged(sources, entries, workspace)
        summary = None if sample is None else sample.check(target.folder, reporter)
        if tally.kept:
            manifest.write(target.folder / MANIFEST)
            (target.folder / BEGUN).unlink(missing_ok=True)
    return _result(target, sources, manifest, began, media=summary, first_missing=tally.first_missing)


def write_all(
    settings: Settings,
    target: Target,
    sources: list[SourceToImport],
    questions: Questions,
    reporter: Reporter,
    sample: MediaSample | None = None,
) -> Tally:
    """Write records, rejects and media; the file of records last."""
    write_text(target.folder / BEGUN, "")
    (target.folder / MANIFEST).unlink(missing_ok=True)
    step, workspace = settings.import_data, target.workspace
    begin_media(target, sources, settings, reporter)
    embedded = EmbeddedMedia(target.folder)
    total = sum(source.opened.size for source in sources)
    tally = Tally()
    with atomic_write(target.rejects) as rejects, suppress(_NothingKept), ExitStack() as stack:

        def open_validation() -> IO[bytes]:
            link_folder(target.folder / MEDIA_FOLDER, target.validation.parent / MEDIA_FOLDER, workspace.root)
            return stack.enter_context(atomic_write(target.validation))

        trained = stack.enter_context(atomic_write(target.records))
        stack.enter_context(disk_errors(target.records))
        both = stack.enter_context(TemporaryFile(dir=target.folder)) if step.validation else None
        sides = stack.enter_context(closing(Sides(step.validation, target.folder))) if step.validation else None
        seen = stack.enter_context(closing(SeenOnDisk(target.folder)))
        maker = RecordMaker(step, questions, embedded, seen)
        writer = RowWriter(maker, tally, both or trained, rejects, sides)
        with reporter.progress("import", total or None, "bytes" if total else "items") as advance:
            for source in sources:
                media = media_of(source, target, copy=step.copy_files)
                for row in source.opened.rows(advance):
                    paths = writer.write(row, media)
                    if sample is not None and paths:
                        sample.add(paths, row)
        if both is not None:
            writer.divide(both, trained, open_validation)
        if not tally.kept:
            raise _NothingKept
        if tally.kept == tally.validation:
            raise DataError(
                f"all {tally.kept:,} records would be kept for validation", hint="Set less: --validation 0.02"
            )
        if embedded.written or step.copy_files:
            sync_filesystem(target.folder)
    if not tally.validation:
        target.validation.unlink(missing_ok=True)
    return tally


def name_of(source: Path) -> str:
    """The name of the subset where nobody says: the source's, without what no folder of ours has in its name.

    >>> name_of(Path("my photos")), name_of(Path("a/captions.csv.gz"))
    ('my-photos', 'captions')
    """
    stem = source.absolute().name
    stem = stem if source.is_dir() else stem.split(".")[0]
    return re.sub(r"[^\w.-]+", "-", stem).strip(".-_") or "imported"


def _is_whole(manifest: ImportManifest, workspace: Workspace) -> bool:
    """Whether all files that were written are still there."""
    paths = ((workspace.path(name), size) for name, size in manifest.files.items())
    return all(path.is_file() and path.stat().st_size == size for path, size in paths)


def _finish(target: Target, entries: list[ImportedSource], deciding: JsonObject, tally: Tally) -> ImportManifest:
    written = (target.records, target.rejects, target.validation)
    return ImportManifest(
        sources=tuple(entries),
        settings=deciding,
        counts=tally.counts(),
        files={target.workspace.relative(path): path.stat().st_size for path in written if path.exists()},
    )


def _result(
    target: Target,
    sources: list[SourceToImport],
    manifest: ImportManifest,
    began: float,
    *,
    done_before: bool = False,
    media: MediaSummary | None = None,
    first_missing: str | None = None,
) -> ImportResult:
    counts = manifest.counts
    return ImportResult(
        output=str(target.records),
        split=target.split,
        name=target.name,
        sources=[line for source in sources for line in source.about],
        read=counts.read,
        kept=counts.kept,
        validation=counts.validation,
        validation_output=str(target.validation) if counts.validation else None,
        images=counts.images,
        videos=counts.videos,
        rejected=counts.rejected,
        first_missing=first_missing,
        rejects_file=str(target.rejects) if counts.rejected else None,
        seconds=round(time.perf_counter() - began, 3),
        done_before=done_before,
        media=media,
    )
