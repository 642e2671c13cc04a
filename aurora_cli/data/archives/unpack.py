"""Unpack an archive into a folder: safely, durably in groups, and going on where a killed run stopped.

A member is written through its folder's descriptor, and folders are opened step by step without following links
(openat, O_NOFOLLOW): what an archive - or somebody else meanwhile - puts in the way cannot lead a write outside.
"""

import contextlib
import errno
import os
import resource
import stat
from array import array
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from aurora_cli.config.settings import ExtractSettings
from aurora_cli.constants import REJECTS_FILE
from aurora_cli.data.archives.journal import GROUP_BYTES, ExtractionState, Journal, Progress, Receipt, identity_of
from aurora_cli.data.archives.names import archive_of
from aurora_cli.data.archives.parts import Archive
from aurora_cli.data.archives.policy import components, refusal
from aurora_cli.data.archives.tar_reader import Advance, BadArchive, Member, TarStream
from aurora_cli.io.atomic import disk_errors

GROUP_MEMBERS = 50_000
"""A group of empty files ends as well."""
_SAMPLE_EVERY = 4_096
_OPEN_FOLDERS = 256
"""Folders that stay open at most, as far as the process may open files."""
_LATEST_TIME = 1 << 33
"""Seconds since 1970; a time behind this (year 2242) is not believed."""


def unpack(archive: Archive, target: Path, *, settings: ExtractSettings, advance: Advance) -> Receipt:
    """Write every member of `archive` below `target`, and return what became of it.

    A truncated or corrupt archive is no exception here: `Receipt.broken` says where, whole members stay.

    Raises:
        HostError: the disk is full or cannot be written; the same call goes on from there
        UsageError: another process is at it
    """
    identity = identity_of(archive)
    target.mkdir(parents=True, exist_ok=True)
    state = ExtractionState(archive, target)
    with state.lock(), disk_errors(target):
        if (receipt := state.finished(identity, "files")) is not None:
            return receipt
        after = state.progress(identity, "files")
        receipt = Receipt(str(archive.path), "files", identity, after.members, after.bytes, rejected=after.rejected)
        own = {file.name for file in archive.files if file.parent.resolve() == target.resolve()}
        with (
            TarStream(archive, max_inflation=settings.max_inflation, advance=advance) as stream,
            FolderWriter(target, open_folders=_share_of_open_files(settings.workers)) as writer,
            state.journal(identity, "files", after, sync=settings.sync) as journal,
        ):
            _Unpacking(stream, writer, journal, receipt, frozenset(own | {REJECTS_FILE})).run(after)
        receipt.settings = settings.model_dump(mode="json")
        state.finish(receipt, sync=settings.sync)
    return receipt


def _share_of_open_files(workers: int) -> int:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = _OPEN_FOLDERS if limit == resource.RLIM_INFINITY else limit // 2 // workers
    return max(4, min(allowed, _OPEN_FOLDERS))


class _Unpacking:
    """One pass over one archive."""

    def __init__(
        self,
        stream: TarStream,
        writer: "FolderWriter",
        journal: Journal,
        receipt: Receipt,
        reserved: frozenset[str],
    ) -> None:
        self.stream, self.writer, self.journal, self.receipt = stream, writer, journal, receipt
        self.reserved = reserved
        self.names = array("q")

    def run(self, after: Progress) -> None:
        receipt, stream = self.receipt, self.stream
        members_before, bytes_before = receipt.members, receipt.bytes
        try:
            for member in stream.members():
                reason = refusal(member, root_bytes=self.writer.root_bytes, reserved=self.reserved)
                if reason is None:
                    self._note(member)
                if member.start < after.offset:
                    continue
                if receipt.bytes - bytes_before >= GROUP_BYTES or receipt.members - members_before >= GROUP_MEMBERS:
                    self._group_is_done(member.start)
                    members_before, bytes_before = receipt.members, receipt.bytes
                self._take(member, reason)
        except BadArchive as error:
            receipt.broken = error.message
        self._group_is_done(stream.position)
        names = np.frombuffer(self.names, dtype=np.int64) if self.names else np.zeros(0, dtype=np.int64)
        receipt.duplicates = len(names) - len(np.unique(names))

    def _group_is_done(self, offset: int) -> None:
        receipt = self.receipt
        self.journal.group_is_done(
            offset=offset, members=receipt.members, size=receipt.bytes, rejected=receipt.rejected
        )

    def _note(self, member: Member) -> None:
        steps = components(member.name)
        if member.kind == "folder" or not steps:
            return
        if len(self.names) % _SAMPLE_EVERY == 0:
            self.receipt.samples.append("/".join(steps))
        if archive_of(steps[-1]) is not None:
            self.receipt.nested.append("/".join(steps))
        self.names.append(hash("/".join(steps)))

    def _take(self, member: Member, reason: str | None) -> None:
        if reason is None:
            try:
                self._write(member)
            except Refused as error:
                reason = error.reason
            except OSError as error:
                if error.errno not in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EMLINK):
                    raise
                reason = f"is not possible on this filesystem: {error.strerror}"
        if reason is not None:
            self.receipt.rejected += 1
            entry = {"archive": self.receipt.archive, "member": member.name, "offset": member.start, "reason": reason}
            self.journal.reject(entry)
            return
        if member.kind != "folder":
            self.receipt.members += 1
            self.receipt.bytes += member.size if member.kind == "file" else 0

    def _write(self, member: Member) -> None:
        steps = components(member.name)
        if member.kind == "file":
            self.writer.write_file(steps, self.stream.pieces(member.size), mode=member.mode, mtime=member.mtime)
        elif member.kind == "folder":
            self.writer.make_folder(steps)
        elif member.kind == "symlink":
            self.writer.link(steps, member.link)
        else:
            self.writer.hard_link(steps, components(member.link))


class Refused(Exception):
    """What is already in the target does not allow this member."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class FolderWriter:
    """Writes below one folder, never through a link. Keeps the folders of the last members open."""

    def __init__(self, root: Path, *, open_folders: int = 4) -> None:
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
        """Create or replace a file; if the pieces end in an error, nothing of it stays."""
        folder, name = self._folder(steps[:-1]), steps[-1]
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        permissions = (mode & 0o755) | 0o600  # no setuid, no setgid, not writable by others
        try:
            descriptor = os.open(name, flags, permissions, dir_fd=folder)
        except FileExistsError:
            self._clear(name, folder)
            descriptor = os.open(name, flags, permissions, dir_fd=folder)
        try:
            for piece in pieces:
                while piece:
                    piece = piece[os.write(descriptor, piece) :]
            if 0 <= mtime < _LATEST_TIME:
                os.utime(descriptor, (mtime, mtime))
        except BaseException:
            os.unlink(name, dir_fd=folder)
            raise
        finally:
            os.close(descriptor)

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
