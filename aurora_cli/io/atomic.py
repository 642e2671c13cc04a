"""Files that are whole or absent: write beside, fsync, rename.

A crash at any moment leaves the old file, the new one, or a `.partial` neighbour that the next run replaces.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from aurora_cli.errors import DiskError, HostError

PARTIAL_SUFFIX = ".partial"

_FULL = "the disk is full", "Make space and run the same command again: it continues."
_BOUNDED = (
    "no file may become so large there",
    "Raise the limit (ulimit -f), or take another filesystem, and run the same command again: it continues.",
)
NO_ROOM = {errno.ENOSPC: _FULL, errno.EDQUOT: _FULL, errno.EFBIG: _BOUNDED}
"""Why a file cannot grow, in words, and what to do, by the system's number."""


@contextlib.contextmanager
def atomic_write(path: Path, mode: str = "wb") -> Iterator[IO[Any]]:
    """Open a file that appears at `path` only when the block ends without an error."""
    partial = path.with_name(f".{path.name}{PARTIAL_SUFFIX}")
    opened = _opened(partial, mode, path)
    try:
        with disk_errors(path), opened as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


@contextlib.contextmanager
def atomic_directory(path: Path) -> Iterator[Path]:
    """Fill a folder that appears at `path` only when the block ends without an error; an older `path` is replaced.

    A file with another name besides is a link to one that is whole and was synced as such.
    """
    partial = path.with_name(f".{path.name}{PARTIAL_SUFFIX}")
    old = path.with_name(f".{path.name}.old")
    with path_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove(partial)
        partial.mkdir()
    try:
        with disk_errors(path):
            yield partial
            for folder, _, names in os.walk(partial):
                for name in names:
                    if (file := Path(folder, name)).stat().st_nlink == 1:
                        fsync_file(file)
                fsync_folder(Path(folder))
    except BaseException:
        remove(partial)
        raise
    remove(old)
    if path.exists():
        path.replace(old)
    partial.replace(path)
    fsync_folder(path.parent)
    remove(old)


@contextlib.contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full disk, a forbidden folder, or a file that may not grow into a DiskError that names `path`.

    Raises:
        HostError: what is not permitted is to read another file, which is named.
    """
    try:
        yield
    except OSError as error:
        if (ours := _unreadable(error, path) or _unwritten(error, path)) is None:
            raise
        raise ours from error


def _unreadable(error: OSError, path: Path) -> HostError | None:
    """If what is not permitted is to read something that was needed to write at `path`."""
    if error.errno not in (errno.EACCES, errno.EPERM) or not isinstance(error.filename, str):
        return None
    named = Path(error.filename).absolute()
    found = next(each for each in (named, *named.parents) if os.path.exists(each))  # noqa: PTH110 - Path's may raise
    if path.absolute().is_relative_to(found) or os.access(found, os.X_OK if found.is_dir() else os.R_OK):
        return None
    return HostError(f"{error.filename}: cannot be read: {error.strerror}")


def _unwritten(error: OSError, path: Path) -> DiskError | None:
    """What an error of writing at `path` says of its disk; None where it may say something else."""
    if error.errno in NO_ROOM:
        reason, hint = NO_ROOM[error.errno]
        free = shutil.disk_usage(existing_parent(path)).free
        return DiskError(path, f"{reason} ({free:,} bytes free)", hint=hint)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return DiskError(path, f"cannot be written: {error.strerror}")
    return None


def _opened(file: Path, mode: str, path: Path) -> IO[Any]:
    """`file`, open for writing, and the folders above it; it serves `path`, which errors name."""
    with path_errors(path):
        file.parent.mkdir(parents=True, exist_ok=True)
        return open(file, mode, encoding=None if "b" in mode else "utf-8")


@contextlib.contextmanager
def path_errors(path: Path) -> Iterator[None]:
    """Turn whatever keeps a name from being made on the way to `path` into a DiskError that names it."""
    try:
        with disk_errors(path):
            yield
    except OSError as error:
        above = existing_parent(path.parent)
        reason = error.strerror if above.is_dir() else f"{above} is no folder"
        raise DiskError(path, f"cannot be written: {reason}") from error


def open_to_append(path: Path) -> IO[str]:
    """Open a text file, made if need be with the folders above it, to add to its end.

    Raises:
        HostError: that cannot be.
    """
    return _opened(path, "a", path)


def put_file(source: Path, path: Path) -> None:
    """Give a file another name, on whatever disk; there it is whole or absent."""
    try:
        source.replace(path)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        with open(source, "rb") as content, atomic_write(path) as file:
            shutil.copyfileobj(content, file, 8 << 20)
        source.unlink()


def write_text(path: Path, text: str) -> None:
    with atomic_write(path, "w") as file:
        file.write(text)


def write_json(path: Path, value: Mapping[str, Any] | list[Any]) -> None:
    write_text(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def sha256_of(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def existing_parent(path: Path) -> Path:
    """The nearest folder at or above `path` that exists."""
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def fsync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_folder(path: Path) -> None:
    fsync_file(path)
