"""What `aurora extract` finds to do: each archive with its target, and what cannot be begun."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, assert_never

from aurora_cli.config.settings import ExtractSettings
from aurora_cli.config.share import balanced_shares
from aurora_cli.config.workspace import check_folder
from aurora_cli.data.archives.finding.names import READ_KINDS
from aurora_cli.data.archives.finding.parts import Archive, find_archives
from aurora_cli.data.archives.finding.unread import find_unread
from aurora_cli.data.archives.indexed_tar import source_of
from aurora_cli.data.archives.policy import STATE_FOLDER
from aurora_cli.data.archives.receipt import ExtractionReceipt
from aurora_cli.data.download.manifest import DownloadManifest
from aurora_cli.errors import DataError


class Job(NamedTuple):
    archive: Archive
    target: Path
    size: int


@dataclass
class Plan:
    """What to extract where, and what cannot be."""

    jobs: list[Job] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def make_plan(inputs: list[Path], output: Path | None, options: ExtractSettings) -> Plan:
    """Find the archives of `inputs`.

    Raises:
        DataError: one of them is not there, is no archive, or nothing in them ever was one
        UsageError: the output is a file.
    """
    if output is not None:
        check_folder(output, "extract.output")
    jobs: dict[Path, Job] = {}
    plan = Plan()
    began_before = False
    for root in inputs:
        if not root.exists():
            raise DataError(f"{root}: there is no such file or folder", hint="Get the data first: aurora download")
        archives = find_archives([root], DownloadManifest.complaint)
        unread = find_unread([root])
        if root.is_file() and not archives and not unread:
            raise DataError(f"{root}: is no archive ({READ_KINDS}) and no part of one")
        below = BelowRoot(root) if root.is_dir() else None
        began_before = began_before or DownloadManifest.above(root) is not None or _has_receipts(root)
        plan.unread += [entry.message for entry in unread if below is None or not below.is_member(entry.path)]
        for archive in archives:
            began_before = True
            if below is not None and (below.is_member(archive.path) or _is_copy(archive, archives, options)):
                continue
            if archive.problem is not None:
                plan.problems.append(archive.problem)
                continue
            folder = archive.path.parent
            relative = folder.relative_to(root) if root.is_dir() else Path()
            jobs[archive.path.resolve()] = Job(archive, folder if output is None else output / relative, archive.size)
        plan.problems += [] if below is None else DownloadManifest.missing_archives(root)
    if not began_before and not plan.unread:
        raise DataError(
            f"{', '.join(map(str, inputs))}: no archives ({READ_KINDS} or their parts)",
            hint="Get the data first: aurora download",
        )
    plan.jobs = list(jobs.values())
    return plan


def shares_of(jobs: Sequence[Job], count: int) -> list[int]:
    """The share of each archive, so that all shares have about as many bytes.

    The same for every process that sees the same archives, whatever of them is extracted.
    """
    order = sorted(range(len(jobs)), key=lambda index: str(jobs[index].archive.path))
    in_order = balanced_shares([jobs[index].size for index in order], count)
    by_index = dict(zip(order, in_order, strict=True))
    return [by_index[index] for index in range(len(jobs))]


def _has_receipts(root: Path) -> bool:
    return any(next(root.glob(f"{levels}{STATE_FOLDER}"), None) for levels in ("", "*/", "*/*/"))


class BelowRoot:
    """Which archives came out of other archives: they stay packed unless they are named."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._members: dict[Path, set[Path]] = {}

    def is_member(self, path: Path) -> bool:
        folders = [folder for folder in path.parents if folder == self._root or self._root in folder.parents]
        return any(path in self._members_in(folder) for folder in folders)

    def _members_in(self, folder: Path) -> set[Path]:
        if folder not in self._members:
            receipts = map(ExtractionReceipt.read, (folder / STATE_FOLDER).glob("*/receipt.json"))
            self._members[folder] = {folder / name for receipt in receipts for name in receipt.nested}
        return self._members[folder]


def _is_copy(archive: Archive, others: list[Archive], options: ExtractSettings) -> bool:
    """Whether this is the seekable tar that `--layout index` made of an archive beside it, or of one deleted since."""
    source = source_of(archive.path) if archive.path.is_file() else None
    if source is None or source == archive.path.name:
        return False
    match options.layout:
        case "index":
            return True
        case "files":
            return any(other.path == archive.path.with_name(source) for other in others)
        case _:
            assert_never(options.layout)
