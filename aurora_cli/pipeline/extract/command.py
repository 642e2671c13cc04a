"""`aurora extract`: archives, merged or in parts, into folders of files or into indexed tars."""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, assert_never

from aurora_cli.config.settings import ExtractSettings, Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.constants import REJECTS_FILE
from aurora_cli.data.archives.build_index import build_index, is_indexed_in_place
from aurora_cli.data.archives.indexed_tar import source_of
from aurora_cli.data.archives.journal import ExtractionState, Receipt, identity_of
from aurora_cli.data.archives.parts import Archive, find_archives
from aurora_cli.data.archives.policy import STATE_FOLDER
from aurora_cli.data.archives.spent import delete_spent
from aurora_cli.data.archives.tar_reader import Advance
from aurora_cli.data.archives.unpack import unpack
from aurora_cli.data.download.manifest import DownloadManifest
from aurora_cli.errors import DataError, HostError, Interrupted
from aurora_cli.io.atomic import atomic_write, disk_errors, read_json
from aurora_cli.io.durability import sync_filesystem
from aurora_cli.pipeline.extract.result import SHOWN_REFUSALS, ExtractResult


class _Job(NamedTuple):
    archive: Archive
    target: Path
    size: int


class _Done(NamedTuple):
    receipt: Receipt
    deleted: list[str]
    seconds: float


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> ExtractResult:
    """Extract every archive of `settings.extract.inputs`, several at a time.

    Raises:
        DataError: nothing there to extract
        HostError: the disk is full or cannot be written; the same command goes on from there
    """
    began = time.monotonic()
    options, workspace = settings.extract, Workspace(settings.workspace)
    inputs = [workspace.path(path) for path in options.inputs]
    output = None if options.output is None else workspace.path(options.output)
    jobs, problems = _plan(inputs, output, options)
    finished = {job: receipt for job in jobs if (receipt := _finished(job, options)) is not None}
    if dry_run:
        entries = [_entry(job, finished.get(job), 0.0, done_before=job in finished) for job in jobs]
        return ExtractResult(options.layout, entries, problems, dry_run=True)

    for target in {job.target for job in jobs}:
        with disk_errors(target):
            target.mkdir(parents=True, exist_ok=True)
    entries = [_entry(job, receipt, 0.0, done_before=True) for job, receipt in finished.items()]
    deleted = [path for job, receipt in finished.items() for path in _delete(job, receipt, options)]
    for job, outcome in _extract([job for job in jobs if job not in finished], options, reporter):
        if isinstance(outcome, _Done):
            finished[job] = outcome.receipt
            entries.append(_entry(job, outcome.receipt, outcome.seconds, done_before=False))
            deleted += outcome.deleted
        else:
            problems.append(outcome.message)
    rejects_files = [str(path) for target in sorted({job.target for job in jobs}) if (path := _list_rejects(target))]
    return ExtractResult(
        options.layout,
        sorted(entries, key=lambda entry: entry["archive"]),
        problems,
        deleted,
        sum(receipt.rejected for receipt in finished.values()),
        rejects_files,
        list(islice(_refusals(rejects_files), SHOWN_REFUSALS)),
        round(time.monotonic() - began, 3),
    )


def _plan(inputs: list[Path], output: Path | None, options: ExtractSettings) -> tuple[list[_Job], list[str]]:
    """What to extract where, and what cannot be."""
    jobs: dict[Path, _Job] = {}
    problems: list[str] = []
    began_before = False
    for root in inputs:
        if not root.exists():
            raise DataError(f"{root}: there is no such file or folder", hint="Get the data first: aurora download")
        archives = find_archives([root], DownloadManifest.complaint)
        if root.is_file() and not archives:
            raise DataError(f"{root}: is no archive (.tar, .tar.gz, .tgz) and no part of one")
        below = _BelowRoot(root) if root.is_dir() else None
        began_before = began_before or DownloadManifest.above(root) is not None or _has_receipts(root)
        for archive in archives:
            began_before = True
            if below is not None and (below.is_member(archive.path) or _is_copy(archive, archives, options)):
                continue
            if archive.problem is not None:
                problems.append(archive.problem)
                continue
            folder = archive.path.parent
            relative = folder.relative_to(root) if root.is_dir() else Path()
            jobs[archive.path.resolve()] = _Job(archive, folder if output is None else output / relative, archive.size)
        problems += [] if below is None else DownloadManifest.missing_archives(root)
    if not began_before:
        raise DataError(
            f"{', '.join(map(str, inputs))}: no archives (.tar, .tar.gz, .tgz or their parts)",
            hint="Get the data first: aurora download",
        )
    return list(jobs.values()), problems


def _has_receipts(root: Path) -> bool:
    return any(next(root.glob(f"{levels}{STATE_FOLDER}"), None) for levels in ("", "*/", "*/*/"))


class _BelowRoot:
    """Which archives came out of other archives: they stay packed unless they are named."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._members: dict[Path, set[Path]] = {}

    def is_member(self, path: Path) -> bool:
        folders = [folder for folder in path.parents if folder == self._root or self._root in folder.parents]
        return any(path in self._members_in(folder) for folder in folders)

    def _members_in(self, folder: Path) -> set[Path]:
        if folder not in self._members:
            receipts = (folder / STATE_FOLDER).glob("*/receipt.json")
            self._members[folder] = {folder / name for path in receipts for name in read_json(path)["nested"]}
        return self._members[folder]


def _is_copy(archive: Archive, others: list[Archive], options: ExtractSettings) -> bool:
    """Whether this is the seekable tar that `--layout index` made of an archive beside it, or of one deleted since."""
    source = source_of(archive.path) if archive.path.is_file() else None
    if source in (None, archive.path.name):
        return False
    match options.layout:
        case "index":
            return True
        case "files":
            return any(other.path == archive.path.with_name(source) for other in others)
        case _:
            assert_never(options.layout)


def _finished(job: _Job, options: ExtractSettings) -> Receipt | None:
    return ExtractionState(job.archive, job.target).finished(identity_of(job.archive), options.layout)


def _extract(
    jobs: list[_Job], options: ExtractSettings, reporter: Reporter
) -> Iterator[tuple[_Job, _Done | DataError]]:
    """Yield (job, what was done or the error of its own) as they end; an error of the host ends them all."""
    if not jobs:
        return
    stop = threading.Event()
    total, files = sum(job.size for job in jobs), 0
    with reporter.progress("extract", total, "bytes") as advance, ThreadPoolExecutor(options.workers) as pool:

        def advance_or_stop(amount: int, members: int) -> None:
            nonlocal files
            if stop.is_set():
                raise Interrupted("stopped")
            files += members
            advance(amount, f"{files:,} files")

        futures = {pool.submit(_extract_one, job, options, advance_or_stop): job for job in jobs}
        try:
            for future in as_completed(futures):
                try:
                    done = future.result()
                except DataError as error:
                    yield futures[future], error
                else:
                    path, members = futures[future].archive.path, done.receipt.members
                    reporter.info(f"{path}: {members:,} members in {done.seconds:.1f} s")
                    yield futures[future], done
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)


def _extract_one(job: _Job, options: ExtractSettings, advance: Advance) -> _Done:
    """Deletes at once if asked to: the next archive may need the space."""
    began = time.monotonic()
    try:
        match options.layout:
            case "files":
                receipt = unpack(job.archive, job.target, settings=options, advance=advance)
            case "index":
                receipt = build_index(job.archive, job.target, settings=options, advance=advance)
            case _:
                assert_never(options.layout)
        deleted = _delete(job, receipt, options)
    except OSError as error:
        raise HostError(f"{job.archive.path}: {error.strerror or error}") from error
    return _Done(receipt, deleted, time.monotonic() - began)


def _delete(job: _Job, receipt: Receipt, options: ExtractSettings) -> list[str]:
    """If asked to: delete an archive of which every member is on disk and none was refused, with its parts."""
    in_place = receipt.layout == "index" and is_indexed_in_place(job.archive, job.target)
    if not options.delete_archives or not receipt.is_clean or in_place:
        return []
    sync_filesystem(job.target)
    files = [*job.archive.files, *job.archive.parts_beside()]
    delete_spent(files, ExtractionState(job.archive, job.target).receipt_path)
    return [str(file) for file in files]


def _list_rejects(target: Path) -> Path | None:
    """Gather what every archive of `target` had refused or broken in one `rejected.jsonl`."""
    path, state = target / REJECTS_FILE, target / STATE_FOLDER
    lists = sorted(state.glob(f"*/{REJECTS_FILE}"))
    broken = [stored for receipt in sorted(state.glob("*/receipt.json")) if (stored := read_json(receipt))["broken"]]
    if not lists and not broken:
        path.unlink(missing_ok=True)
        return None
    with atomic_write(path) as file:
        for entry in broken:
            file.write(json.dumps({"archive": entry["archive"], "reason": entry["broken"]}).encode() + b"\n")
        for part in lists:
            with open(part, "rb") as lines:
                shutil.copyfileobj(lines, file)
    return path


def _refusals(rejects_files: list[str]) -> Iterator[dict[str, Any]]:
    for name in rejects_files:
        with open(name, "rb") as lines:
            yield from (entry for line in lines if "member" in (entry := json.loads(line)))


def _entry(job: _Job, receipt: Receipt | None, seconds: float, *, done_before: bool) -> dict[str, Any]:
    return {
        "archive": str(job.archive.path),
        "target": str(job.target),
        "parts": len(job.archive.files),
        "size": job.size,
        "members": receipt.members if receipt else 0,
        "bytes": receipt.bytes if receipt else 0,
        "duplicates": receipt.duplicates if receipt else 0,
        "rejected": receipt.rejected if receipt else 0,
        "broken": receipt.broken if receipt else None,
        "seconds": round(seconds, 3),
        "done_before": done_before,
    }
