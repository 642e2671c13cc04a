"""A folder that members are written into, and nothing outside it."""

import contextlib
import errno
import os
import stat
from collections import OrderedDict
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

OPEN_FOLDERS = 256
"""Folders that stay open at most, as far as the process may open files."""

_LATEST_TIME = 1 << 33
"""Seconds since 1970; a time behind this (year 2242) is not believed."""


class Refused(Exception):
    """What is already in the target does not allow this member."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class FolderWriter:
    """Writes below one folder, never through a link. Keeps the folders of the last members open."""

    def __init__(self, root: Path, *, partial: str, open_folders: int = 4) -> None:
        self.partial = partial
        """What a file is called until it is whole; nobody else may write in this root with the same one."""
        self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        self.root_bytes = len(os.fsencode(root.resolve()))
        self._folders: OrderedDict[tuple[str, ...], int] = OrderedDict()
        self._open_folders = open_folders

    def __enter__(self) -> "FolderWriter":
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in [*self._folders.values(), self._root]:
            os.close(descriptor)

    def write_file(self, steps: list[str], pieces: Iterable[memoryview], *, mode: int, mtime: float) -> None:
        """Create or replace a file, which has its name only when it is whole; on an error nothing of it stays."""
        self._create(steps, partial(_fill, pieces), mode, mtime)

    def write_sparse_file(
        self, steps: list[str], pieces: Iterable[tuple[int, memoryview]], *, size: int, mode: int, mtime: float
    ) -> None:
        """As `write_file`; each piece comes with its offset, and what lies between them is left as holes."""
        self._create(steps, partial(_fill_between_holes, pieces, size), mode, mtime)

    def _create(self, steps: list[str], fill: Callable[[int], None], mode: int, mtime: float) -> None:
        folder, name = self._folder(steps[:-1]), steps[-1]
        permissions = (mode & 0o755) | 0o600  # no setuid, no setgid, not writable by others
        descriptor = self._open_partial(permissions, folder)
        try:
            fill(descriptor)
            if 0 <= mtime < _LATEST_TIME:
                os.utime(descriptor, (mtime, mtime))
            os.rename(self.partial, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException as error:
            os.unlink(self.partial, dir_fd=folder)
            if isinstance(error, IsADirectoryError):
                raise Refused("has the name of a folder that is there") from None
            raise
        finally:
            os.close(descriptor)

    def _open_partial(self, permissions: int, folder: int) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(self.partial, flags, permissions, dir_fd=folder)
        except FileExistsError:  # of a run that was killed in the middle of a member
            os.unlink(self.partial, dir_fd=folder)
            return os.open(self.partial, flags, permissions, dir_fd=folder)

    def make_folder(self, steps: list[str]) -> None:
        self._folder(steps)

    def link(self, steps: list[str], to: str) -> None:
        folder, name = self._folder(steps[:-1]), steps[-1]
        try:
            os.symlink(to, name, dir_fd=folder)
        except FileExistsError:
            self._clear(name, folder)
            os.symlink(to, name, dir_fd=folder)

    def hard_link(self, steps: list[str], to: list[str]) -> None:
        """Another name for a file of the target."""
        folder, name = os.dup(self._folder(steps[:-1])), steps[-1]
        try:
            self._hard_link(self._folder(to[:-1], create=False), to, folder, name)
        finally:
            os.close(folder)

    def _hard_link(self, source: int, to: list[str], folder: int, name: str) -> None:
        try:
            is_file = stat.S_ISREG(os.stat(to[-1], dir_fd=source, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            raise Refused(f"links to {'/'.join(to)!r}, which is not there") from None
        if not is_file:
            raise Refused(f"links to {'/'.join(to)!r}, which is no file")
        try:
            os.link(to[-1], name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:
            self._clear(name, folder)
            os.link(to[-1], name, src_dir_fd=source, dst_dir_fd=folder, follow_symlinks=False)

    def _folder(self, steps: list[str], *, create: bool = True) -> int:
        """A descriptor of the folder, made where it is missing."""
        known = len(steps)
        while known and tuple(steps[:known]) not in self._folders:
            known -= 1
        descriptor = self._root
        if known:
            self._folders.move_to_end(tuple(steps[:known]))
            descriptor = self._folders[tuple(steps[:known])]
        for depth in range(known, len(steps)):
            try:
                descriptor = self._open_folder(steps[depth], descriptor, create=create)
            except OSError as error:
                if error.errno in (errno.ENOTDIR, errno.ELOOP):
                    where = "/".join(steps[: depth + 1])
                    raise Refused(f"lies in {where!r}, which is a link or a file, not a folder") from None
                raise
            self._folders[tuple(steps[: depth + 1])] = descriptor
            if len(self._folders) > self._open_folders:
                os.close(self._folders.popitem(last=False)[1])
        return descriptor

    @staticmethod
    def _open_folder(name: str, parent: int, *, create: bool) -> int:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            return os.open(name, flags, dir_fd=parent)
        except FileNotFoundError:
            if not create:
                raise Refused(f"links to something in a folder {name!r} that is not there") from None
        with contextlib.suppress(FileExistsError):  # another archive made it meanwhile
            os.mkdir(name, dir_fd=parent)
        return os.open(name, flags, dir_fd=parent)

    @staticmethod
    def _clear(name: str, folder: int) -> None:
        """Remove the file or link that a later member of the same name replaces."""
        try:
            os.unlink(name, dir_fd=folder)
        except (IsADirectoryError, PermissionError):
            if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                raise
            raise Refused("has the name of a folder that is there") from None


def _fill(pieces: Iterable[memoryview], descriptor: int) -> None:
    for piece in pieces:
        while piece:
            piece = piece[os.write(descriptor, piece) :]


def _fill_between_holes(pieces: Iterable[tuple[int, memoryview]], size: int, descriptor: int) -> None:
    try:
        os.ftruncate(descriptor, size)
    except OSError as error:
        if error.errno not in (errno.EFBIG, errno.EINVAL):
            raise
        raise Refused(f"is larger ({size:,} bytes) than this filesystem takes") from None
    for offset, piece in pieces:
        while piece:
            written = os.pwrite(descriptor, piece, offset)
            offset, piece = offset + written, piece[written:]
