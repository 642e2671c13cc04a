"""Extraction on scratch: an archive is read into a folder of this machine, and what came of it is moved to its target.

The shared disk sees files arrive, one after the other, and none of the work: no database, no tar that grows. What was
moved is durable in groups, as extraction itself is; a killed run goes on in either half. The folder on scratch goes
when all of it is at the target.
"""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from aurora_cli.config.settings import ExtractSettings
from aurora_cli.data.archives.build_index import build_index, check_copy, needs_no_copy
from aurora_cli.data.archives.finding.parts import Archive
from aurora_cli.data.archives.journal import ExtractionState, identity_of
from aurora_cli.data.archives.reading.tar_bytes import Advance
from aurora_cli.data.archives.receipt import ExtractionReceipt
from aurora_cli.data.archives.staging.moving import move
from aurora_cli.data.archives.unpack import unpack
from aurora_cli.errors import DiskError
from aurora_cli.io.atomic import disk_errors

_WAYS_OUT = "Make space there, name a larger --scratch, fewer --workers, or leave --scratch out: nothing is lost."


def extract_staged(
    archive: Archive, target: Path, scratch: Path, *, settings: ExtractSettings, advance: Advance
) -> ExtractionReceipt:
    """What `unpack` or `build_index` does, by way of a folder in `scratch`.

    Raises:
        DiskError: one of the disks is full or cannot be written; the same call goes on from there
        UsageError: another process is at it
        DataError: another archive has the seekable tar's name
    """
    identity = identity_of(archive)
    if settings.layout == "index" and needs_no_copy(archive, target):
        with _scratch_errors(scratch), _folder(archive, target, scratch, f"{identity[:16]}-direct") as folder:
            return build_index(archive, target, settings=settings, advance=advance, work_folder=folder)
    target.mkdir(parents=True, exist_ok=True)
    state = ExtractionState(archive, target)
    with state.lock(), disk_errors(target):
        if (receipt := state.finished(identity, settings.layout)) is not None:
            return receipt
        if settings.layout == "index":
            check_copy(archive, target)
        make = unpack if settings.layout == "files" else build_index
        with _folder(archive, target, scratch, f"{identity[:16]}-{settings.layout}") as folder:
            with _scratch_errors(scratch):
                # Not synced: after a power cut the journal there counts for nothing.
                local = settings.model_copy(update={"sync": False})
                staged = make(archive, folder, settings=local, advance=advance)
            return move(archive, folder, state, staged, settings=settings, advance=advance)


def remove_left_over(archive: Archive, target: Path, scratch: Path) -> None:
    """Remove what a run left on scratch that was killed after the last file was moved."""
    shutil.rmtree(_own_folder(archive, target, scratch), ignore_errors=True)


def _own_folder(archive: Archive, target: Path, scratch: Path) -> Path:
    """Of one archive and its target."""
    both = f"{archive.path.absolute()}\0{target.absolute()}".encode("utf-8", "surrogateescape")
    return scratch / f"{archive.path.name[:100]}-{hashlib.sha256(both).hexdigest()[:16]}"


@contextlib.contextmanager
def _folder(archive: Archive, target: Path, scratch: Path, version: str) -> Iterator[Path]:
    """The folder for an archive as it is now; it goes when the block ends without an error."""
    own = _own_folder(archive, target, scratch)
    with _scratch_errors(scratch), disk_errors(own):
        (own / version).mkdir(parents=True, exist_ok=True)
    for other in os.scandir(own):
        if other.name != version:  # of the archive as it was
            shutil.rmtree(other.path, ignore_errors=True)
    yield own / version
    shutil.rmtree(own, ignore_errors=True)


@contextlib.contextmanager
def _scratch_errors(scratch: Path) -> Iterator[None]:
    """A disk that one need not write to has other ways out."""
    try:
        yield
    except DiskError as error:
        if not error.path.is_relative_to(scratch):
            raise
        raise DiskError(error.path, error.reason, hint=_WAYS_OUT) from error
