"""Unpack an archive into a folder: safely, durably in groups, and going on where a killed run stopped.

A member is written through its folder's descriptor, and folders are opened step by step without following links
(openat, O_NOFOLLOW): what an archive - or somebody else meanwhile - puts in the way cannot lead a write outside.
"""

import errno
import resource
from array import array
from pathlib import Path

import numpy as np

from aurora_cli.config.settings import ExtractSettings
from aurora_cli.constants import REJECTS_FILE
from aurora_cli.data.archives.journal import GROUP_BYTES, ExtractionState, Journal, Progress, Receipt, identity_of
from aurora_cli.data.archives.names import archive_of
from aurora_cli.data.archives.parts import Archive
from aurora_cli.data.archives.policy import components, refusal
from aurora_cli.data.archives.safe_folder import _OPEN_FOLDERS, FolderWriter, Refused
from aurora_cli.data.archives.tar_reader import Advance, BadArchive, Member, TarStream
from aurora_cli.io.atomic import disk_errors

GROUP_MEMBERS = 50_000
"""A group of empty files ends as well."""
_SAMPLE_EVERY = 4_096


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
            FolderWriter(
                target, partial=state.partial_name, open_folders=_share_of_open_files(settings.workers)
            ) as writer,
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
