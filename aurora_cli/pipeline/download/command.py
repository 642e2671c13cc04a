"""`aurora download`: the selected files of the data set, from a hub or a local folder, into the workspace.

What is to come is written down first (`data.download.manifest`), then fetched some files at a time
(`data.download.fetch`); archives of equal content are fetched once and hard-linked.
"""

import os
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from aurora_cli.config.settings import DownloadSettings, Settings
from aurora_cli.config.share import Share, take_share
from aurora_cli.config.workspace import Workspace, check_folder
from aurora_cli.console import SILENT, Advance, Reporter
from aurora_cli.data.download.commit import GroupCommit
from aurora_cli.data.download.disk_forecast import Need, later_needs
from aurora_cli.data.download.fetch import Fetcher
from aurora_cli.data.download.hub_source import HubSource
from aurora_cli.data.download.manifest import MANIFEST_FILE, DownloadManifest, RemoteFile
from aurora_cli.data.download.mirror_source import MirrorSource
from aurora_cli.data.download.partial_file import remove_stale
from aurora_cli.data.download.plan import Plan, make_manifest, make_plan, shares_of_files
from aurora_cli.data.download.selection import select
from aurora_cli.data.download.source import Source, WrongBytes
from aurora_cli.errors import HostError
from aurora_cli.io.atomic import disk_errors, existing_parent, fsync_folder
from aurora_cli.io.locks import file_lock, lock_output
from aurora_cli.pipeline.download.result import DownloadResult, Report


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> DownloadResult:
    """Bring what `settings.download` chooses.

    Raises:
        UsageError: no such repository, revision, split or subset, or the output is a file
        DataError: the repository is empty, or nothing in it is selected
        HostError: the hub, the network or the disk does not let it; the same command continues
    """
    options, workspace = settings.download, Workspace(settings.workspace)
    data = workspace.path(options.output)
    check_folder(data, "download.output")
    share = take_share(options.shard, reporter)
    source = _source(options, workspace)
    selected = select(source.files(), options)
    before = DownloadManifest.of_folder(data)
    plan = make_plan(source, selected, before, data, options, reporter)
    shares = {} if share is None else shares_of_files(source, selected, share.count)
    if share is not None:
        plan = plan._replace(groups=[group for group in plan.groups if shares[group[0].path] == share.index])
    to_fetch, free = plan.bytes_to_fetch(data), shutil.disk_usage(existing_parent(data)).free
    needs = later_needs(selected, data, archives_at_a_time=settings.extract.workers)
    report = Report(source, data, plan, free, needs, share)
    if dry_run:
        return report.result(len(plan.groups), to_fetch, linked=0, dry_run=True)

    if to_fetch > free:
        raise HostError(
            f"{data}: {to_fetch:,} bytes are to come, {free:,} bytes are free",
            hint="Choose less (--split, --subset, --annotations-only), or another folder: --output DIR",
        )
    if plan.groups:
        _warn_of_later_steps(needs, free - to_fetch, data, reporter)
    with disk_errors(data), _held(data, share):
        with lock_output(data / MANIFEST_FILE, "aurora download", wait=True):  # other shares write it too
            manifest = make_manifest(source, selected, DownloadManifest.of_folder(data), data, options)
            for group in plan.groups:  # what is there under their names is something else, and not what is listed
                for file in group:
                    (data / file.path).unlink(missing_ok=True)
            manifest.write_into(data)
            remove_stale(data, selected)
        fetched, linked, hashes = _fetch(source, plan, data, options, reporter)
        with lock_output(data / MANIFEST_FILE, "aurora download", wait=True):
            manifest = DownloadManifest.of_folder(data) or manifest
            hashed = manifest.with_hashes(hashes)
            if hashed.files != manifest.files:
                hashed.write_into(data)
    result = report.result(len(fetched), sum(file.size for file in fetched), linked=linked, dry_run=False)
    if share is None:
        return result
    used = {file.path for file in plan.here}  # or spent by a later step
    absent = (file for file in selected if file.path not in used and not _is_here(file, data))
    return replace(result, missing=tuple(sorted({shares[file.path] for file in absent} - {share.index})))


def _held(data: Path, share: Share | None) -> AbstractContextManager[None]:
    """The folder for this process alone, or the share's work on it."""
    if share is None:
        return file_lock(data, "aurora download")
    return lock_output(data / f"download-{share.name}", f"aurora download --shard {share}")


def _is_here(file: RemoteFile, data: Path) -> bool:
    path = data / file.path
    return path.is_file() and path.stat().st_size == file.size


def _warn_of_later_steps(needs: list[Need], left: int, data: Path, reporter: Reporter) -> None:
    """Say it now if unpacking will not fit, whichever way it is done."""
    sizes = {need.step: need.bytes for need in needs}
    if sizes["extract"] <= left:
        return
    least = sizes["extract --delete-archives"]
    reporter.warning(
        f"{data}: after this download {left:,} bytes are free; extract will need about {sizes['extract']:,}, "
        f"with --delete-archives about {least:,} at a time"
    )


def _source(options: DownloadSettings, workspace: Workspace) -> Source:
    folder = workspace.path(options.repo)
    if folder.is_dir():
        return MirrorSource(folder)
    return HubSource(options.repo, options.revision, retries=options.retries, retry_wait_s=options.retry_wait_s)


def _fetch(
    source: Source, plan: Plan, data: Path, options: DownloadSettings, reporter: Reporter
) -> tuple[list[RemoteFile], int, dict[str, str]]:
    """Fetch every group; returns the files that came, the number of links, and the sha256 of both.

    A file that is wrong at its source does not keep the others from coming; it is named when they are here.
    """
    stop = threading.Event()
    group_commit = GroupCommit(sync=options.sync)
    fetcher = Fetcher(source, group_commit, retries=options.retries, retry_wait_s=options.retry_wait_s, stop=stop)
    fetched: list[RemoteFile] = []
    linked, hashes = 0, {}
    failures: list[WrongBytes] = []
    total = sum(file.size for group in plan.groups for file in group)
    if not plan.groups:
        return fetched, linked, hashes
    with reporter.progress("download", total, "bytes") as advance, ThreadPoolExecutor(options.workers) as pool:
        work = [pool.submit(_fetch_group, fetcher, group, plan.here, data, advance) for group in plan.groups]
        try:
            for future in as_completed(work):
                try:
                    outcome = future.result()
                except WrongBytes as error:
                    failures.append(error)
                    continue
                fetched += outcome.fetched
                linked += outcome.linked
                hashes |= outcome.hashes
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            group_commit.flush()
    if failures:
        raise WrongBytes(
            "\n".join(error.message for error in failures[:10])
            + (f"\n... and {len(failures) - 10} more" if len(failures) > 10 else ""),
            hint=failures[0].hint,
        )
    return fetched, linked, hashes


class _Outcome(NamedTuple):
    fetched: list[RemoteFile]
    linked: int
    hashes: dict[str, str]


def _fetch_group(
    fetcher: Fetcher, group: list[RemoteFile], here: list[RemoteFile], data: Path, advance: Advance
) -> _Outcome:
    """Fetch files that may be equal: the second of two equal ones becomes a link to the first."""
    key = fetcher.source.equality(group[0])
    twins: dict[str, Path] = {}
    if key is not None:
        for file in here:
            if file.size == group[0].size and (data / file.path).is_file() and fetcher.source.equality(file) == key:
                twins[file.sha256 or fetcher.source.sha256(file) or ""] = data / file.path
    outcome = _Outcome([], 0, {})
    for file in group:
        path = data / file.path
        digest = fetcher.source.sha256(file) if twins else None
        if digest is not None and digest in twins and _link(twins[digest], path):
            advance(file.size)
            outcome = outcome._replace(linked=outcome.linked + 1)
        else:
            with lock_output(path, "aurora download"):  # where shares overlap, as of other numbers of processes
                digest = fetcher.fetch(file, path, advance, at_once=key is not None)
            outcome.fetched.append(file)
        if key is not None:
            twins.setdefault(digest, path)
        outcome.hashes[file.path] = digest
    return outcome


def _link(existing: Path, path: Path) -> bool:
    """Give a file a second name; false where the filesystem has no such thing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with suppress(OSError):
        os.link(existing, path)
        fsync_folder(path.parent)
        return True
    return False
