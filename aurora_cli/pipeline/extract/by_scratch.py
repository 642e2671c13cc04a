"""One archive to its target, by way of `--scratch` where that is another disk."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import assert_never

from aurora_cli.config.settings import ExtractSettings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import Reporter
from aurora_cli.data.archives.build_index import build_index
from aurora_cli.data.archives.reading.tar_bytes import Advance
from aurora_cli.data.archives.receipt import ExtractionReceipt
from aurora_cli.data.archives.staging.staged import extract_staged, remove_left_over
from aurora_cli.data.archives.unpack import unpack
from aurora_cli.io.scratch import check_scratch, is_same_disk, scratch_folder
from aurora_cli.pipeline.extract.plan import Job


def wanted_scratch(options: ExtractSettings, workspace: Workspace) -> Path | None:
    """
    Raises:
        UsageError: it is no folder.
    """
    if options.scratch is None:
        return None
    scratch = workspace.path(options.scratch).absolute()
    check_scratch(scratch, "extract.scratch")
    return scratch


def prepared_scratch(scratch: Path, jobs: Sequence[Job], finished: Iterable[Job], reporter: Reporter) -> Path:
    """The folder in it, without what is left there of archives that are extracted; a line where it is of no use.

    Raises:
        HostError: nothing can be written there.
    """
    folder = scratch_folder(scratch, "extract")
    for job in finished:
        remove_left_over(job.archive, job.target, folder)
    beside = sorted({str(job.target) for job in jobs if is_same_disk(folder, job.target)})
    if beside:
        reporter.warning(
            f"--scratch {scratch}: is on the disk of {beside[0]}, where it is left out: it would save nothing"
        )
    return folder


def extract_one(job: Job, options: ExtractSettings, scratch: Path | None, advance: Advance) -> ExtractionReceipt:
    """
    Raises:
        HostError: a disk is full or cannot be written; the same call goes on from there
        UsageError: another process is at it
        DataError: another archive has the name of its seekable copy
    """
    if scratch is not None and not is_same_disk(scratch, job.target):
        return extract_staged(job.archive, job.target, scratch, settings=options, advance=advance)
    match options.layout:
        case "files":
            return unpack(job.archive, job.target, settings=options, advance=advance)
        case "index":
            return build_index(job.archive, job.target, settings=options, advance=advance)
        case _:
            assert_never(options.layout)
