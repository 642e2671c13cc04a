"""`aurora extract`: archives, merged or in parts, into folders of files or into indexed tars."""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from aurora_cli.config.settings import ExtractSettings, Settings
from aurora_cli.config.share import Share, take_share
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.constants import REJECTS_FILE
from aurora_cli.data.archives.build_index import needs_no_copy
from aurora_cli.data.archives.journal import ExtractionState, identity_of
from aurora_cli.data.archives.policy import STATE_FOLDER
from aurora_cli.data.archives.reading.tar_bytes import Advance
from aurora_cli.data.archives.receipt import ExtractionReceipt, RejectedMember
from aurora_cli.data.archives.spent import delete_spent
from aurora_cli.errors import DataError, HostError, Interrupted, UsageError
from aurora_cli.io.atomic import atomic_write, disk_errors
from aurora_cli.io.durability import sync_filesystem
from aurora_cli.io.locks import lock_output
from aurora_cli.pipeline.extract.by_scratch import extract_one, prepared_scratch, wanted_scratch
from aurora_cli.pipeline.extract.plan import Job, make_plan, shares_of
from aurora_cli.pipeline.extract.result import SHOWN_REFUSALS, ArchiveOutcome, ExtractResult, RefusedMember


class _Done(NamedTuple):
    receipt: ExtractionReceipt
    deleted: list[str]
    seconds: float


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> ExtractResult:
    """Extract every archive of `settings.extract.inputs`, or a share of them, several at a time.

    Raises:
        DataError: nothing there to extract
        UsageError: no such share, or archives would be deleted while others divide the list of them
        HostError: the disk is full or cannot be written; the same command goes on from there
    """
    began = time.monotonic()
    options, workspace = settings.extract, Workspace(settings.workspace)
    share = _share(options, reporter)
    scratch = wanted_scratch(options, workspace)
    inputs = [workspace.path(path) for path in options.inputs]
    output = None if options.output is None else workspace.path(options.output)
    plan = make_plan(inputs, output, options)
    problems = plan.problems
    shares = shares_of(plan.jobs, 1 if share is None else share.count)
    jobs = [job for job, index in zip(plan.jobs, shares, strict=True) if share is None or index == share.index]
    named = None if share is None else str(share)
    finished = {job: receipt for job in jobs if (receipt := _finished(job, options)) is not None}
    if dry_run:
        outcomes = [_outcome(job, finished.get(job), 0.0, done_before=job in finished) for job in jobs]
        return ExtractResult(options.layout, outcomes, problems, plan.unread, dry_run=True, share=named)

    for target in {job.target for job in jobs}:
        with disk_errors(target):
            target.mkdir(parents=True, exist_ok=True)
    if scratch is not None:
        scratch = prepared_scratch(scratch, jobs, finished, reporter)
    outcomes = [_outcome(job, receipt, 0.0, done_before=True) for job, receipt in finished.items()]
    deleted = [path for job, receipt in finished.items() for path in _delete(job, receipt, options)]
    for job, outcome in _extract([job for job in jobs if job not in finished], options, scratch, reporter):
        if isinstance(outcome, _Done):
            finished[job] = outcome.receipt
            outcomes.append(_outcome(job, outcome.receipt, outcome.seconds, done_before=False))
            deleted += outcome.deleted
        else:
            problems.append(outcome.message)
    rejects_files = [str(path) for target in sorted({job.target for job in jobs}) if (path := _list_rejects(target))]
    return ExtractResult(
        options.layout,
        sorted(outcomes, key=lambda outcome: outcome.archive),
        problems,
        plan.unread,
        deleted,
        sum(receipt.rejected for receipt in finished.values()),
        rejects_files,
        list(islice(_refusals(rejects_files), SHOWN_REFUSALS)),
        round(time.monotonic() - began, 3),
        share=named,
        missing=() if share is None else _missing(plan.jobs, shares, share, options),
    )


def _share(options: ExtractSettings, reporter: Reporter) -> Share | None:
    share = take_share(options.shard, reporter)
    if share is not None and options.delete_archives:
        raise UsageError(
            "--delete-archives: not with --shard, for the others divide the archives by what is there",
            hint="After all shares: aurora extract --delete-archives, which deletes what they have extracted.",
        )
    return share


def _missing(jobs: list[Job], shares: list[int], share: Share, options: ExtractSettings) -> tuple[int, ...]:
    """The other shares that have archives to extract yet."""
    others = [(job, index) for job, index in zip(jobs, shares, strict=True) if index != share.index]
    return tuple(sorted({index for job, index in others if _finished(job, options) is None}))


def _finished(job: Job, options: ExtractSettings) -> ExtractionReceipt | None:
    return ExtractionState(job.archive, job.target).finished(identity_of(job.archive), options.layout)


def _extract(
    jobs: list[Job], options: ExtractSettings, scratch: Path | None, reporter: Reporter
) -> Iterator[tuple[Job, _Done | DataError]]:
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

        futures = {pool.submit(_extract_one, job, options, scratch, advance_or_stop): job for job in jobs}
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


def _extract_one(job: Job, options: ExtractSettings, scratch: Path | None, advance: Advance) -> _Done:
    """Deletes at once if asked to: the next archive may need the space."""
    began = time.monotonic()
    try:
        receipt = extract_one(job, options, scratch, advance)
        deleted = _delete(job, receipt, options)
    except OSError as error:
        raise HostError(f"{job.archive.path}: {error.strerror or error}") from error
    return _Done(receipt, deleted, time.monotonic() - began)


def _delete(job: Job, receipt: ExtractionReceipt, options: ExtractSettings) -> list[str]:
    """If asked to: delete an archive of which every member is on disk and none was refused, with its parts."""
    direct = receipt.layout == "index" and needs_no_copy(job.archive, job.target)
    if not options.delete_archives or not receipt.is_clean or direct:
        return []
    sync_filesystem(job.target)
    files = [*job.archive.files, *job.archive.parts_beside()]
    delete_spent(files, ExtractionState(job.archive, job.target).receipt_path)
    return [str(file) for file in files]


def _list_rejects(target: Path) -> Path | None:
    """Gather what every archive of `target` had refused or broken in one `rejected.jsonl`."""
    path, state = target / REJECTS_FILE, target / STATE_FOLDER
    with lock_output(path, "aurora extract", wait=True):  # other shares may end at the same time
        lists = sorted(state.glob(f"*/{REJECTS_FILE}"))
        receipts = map(ExtractionReceipt.read, sorted(state.glob("*/receipt.json")))
        return _write_rejects(path, lists, [receipt for receipt in receipts if receipt.broken is not None])


def _write_rejects(path: Path, lists: list[Path], broken: list[ExtractionReceipt]) -> Path | None:
    if not lists and not broken:
        path.unlink(missing_ok=True)
        return None
    with atomic_write(path) as file:
        for receipt in broken:
            file.write(RejectedMember(archive=receipt.archive, reason=receipt.broken or "").to_line().encode())
        for part in lists:
            with open(part, "rb") as lines:
                shutil.copyfileobj(lines, file)
    return path


def _refusals(rejects_files: list[str]) -> Iterator[RefusedMember]:
    for name in rejects_files:
        with open(name, "rb") as lines:
            for line in lines:
                entry = RejectedMember.parse(json.loads(line), Path(name))
                if entry.member is not None:
                    yield RefusedMember(entry.archive, entry.member, entry.offset, entry.reason)


def _outcome(job: Job, receipt: ExtractionReceipt | None, seconds: float, *, done_before: bool) -> ArchiveOutcome:
    known = ArchiveOutcome(
        str(job.archive.path), str(job.target), len(job.archive.files), job.size, done_before=done_before
    )
    if receipt is None:
        return known
    return replace(
        known,
        members=receipt.members,
        bytes=receipt.bytes,
        duplicates=receipt.duplicates,
        rejected=receipt.rejected,
        broken=receipt.broken,
        seconds=round(seconds, 3),
    )
