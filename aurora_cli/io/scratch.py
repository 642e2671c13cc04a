"""A folder on a disk of this machine alone, for what nobody else has to see: quick where the shared disk is slow."""

import os
import stat
import tempfile
from pathlib import Path

from aurora_cli.errors import DiskError, UsageError
from aurora_cli.io.atomic import existing_parent, path_errors


def check_scratch(given: Path, setting: str) -> None:
    """
    Raises:
        UsageError: it is no folder. It is not made: where a disk is not mounted, another would be filled.
    """
    if not given.is_dir():
        what = "is no folder" if given.exists() else "is not there"
        raise UsageError(
            f"{setting}: {given}: {what}; a folder on a disk of this machine was expected",
            hint="Clusters name theirs in $TMPDIR or $SLURM_TMPDIR; without --scratch all is written where it stays.",
        )


def own_folder(given: Path, name: str) -> Path:
    """Where `scratch_folder` makes one."""
    return given / f"aurora-{os.getuid()}" / name


def scratch_folder(given: Path, name: str) -> Path:
    """A folder below `given` that is this user's alone, for `given` may be everybody's.

    Raises:
        DiskError: nothing can be written there, or the folder is somebody else's.
    """
    try:
        return _made(own_folder(given, name))
    except DiskError as error:
        hint = "Name another folder with --scratch, or leave it out: then all is written where it stays."
        raise DiskError(error.path, error.reason, hint=hint) from error


def _made(folder: Path) -> Path:
    own = folder.parent
    with path_errors(own):
        own.mkdir(mode=0o700, exist_ok=True)
        status = own.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            raise DiskError(own, "is somebody else's, or no folder")
        with tempfile.TemporaryFile(dir=own):  # a disk that is read-only has the folder already
            pass
        folder.mkdir(exist_ok=True)
    return folder


def is_same_disk(path: Path, other: Path) -> bool:
    """Whether both are, or would be, on one filesystem."""
    return existing_parent(path).stat().st_dev == existing_parent(other).stat().st_dev
