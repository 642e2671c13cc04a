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
from aurora_cli.data.archives.finding.parts import Archive
from aurora_cli.data.archives.finding.unread import looks_like_archive
from aurora_cli.data.archives.journal import GROUP_BYTES, ExtractionState, Journal, identity_of
from aurora_cli.data.archives.policy import components, refusal
from aurora_cli.data.archives.reading.chunks import DamagedMember
from aurora_cli.data.archives.reading.tar_bytes import Advance, BadArchive
from aurora_cli.data.archives.reading.tar_header import Member
from aurora_cli.data.archives.reading.tar_reader import TarStream
from aurora_cli.data.archives.receipt import PER_PROCESS, ExtractionReceipt, Progress, RejectedMember, Tally
from aurora_cli.data.archives.safe_folder import OPEN_FOLDERS, FolderWriter, Refused
from aurora_cli.io.atomic import disk_errors

GROUP_MEMBERS = 50_000
"""A group of empty files ends as well."""
_SAMPLE_EVERY = 4_096
NOT_POSSIBLE = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EMLINK)
"""A filesystem that does not take this member may well take the next."""


def unpack(archive: Archive, target: Path, *, settings: ExtractSettings, advance: Advance) -> ExtractionReceipt:
    """Write every member of `archive` below `target`, and return what became of it.

    A truncated or corrupt archive is no exception here: `ExtractionReceipt.broken` says where, whole members stay.

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
        tally = Tally(after.members, after.bytes, rejected=after.rejected)
        own = {file.name for file in archive.files if file.parent.resolve() == target.resolve()}
        with (
            TarStream(archive, max_inflation=settings.max_inflation, advance=advance) as stream,
            FolderWriter(
                target, partial=state.partial_name, open_folders=share_of_open_files(settings.workers)
            ) as writer,
            state.journal(identity, "files", after, sync=settings.sync) as journal,
        ):
            _Unpacking(stream, writer, journal, tally, frozenset(own | {REJECTS_FILE})).run(after)
        receipt = tally.receipt(
            str(archive.path), "files", identity, settings.model_dump(mode="json", exclude=PER_PROCESS)
        )
        state.finish(receipt, sync=settings.sync)
    return receipt


def share_of_open_files(workers: int) -> int:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    allowed = OPEN_FOLDERS if limit == resource.RLIM_INFINITY else limit // 2 // workers
    return max(4, min(allowed, OPEN_FOLDERS))


class _Unpacking:
    """One pass over one archive."""

    def __init__(
        self,
        stream: TarStream,
        writer: FolderWriter,
        journal: Journal,
        tally: Tally,
        reserved: frozenset[str],
    ) -> None:
        self.stream, self.writer, self.journal, self.tally = stream, writer, journal, tally
        self.archive, self.reserved = str(stream.archive.path), reserved
        self.names = array("q")

    def run(self, after: Progress) -> None:
        tally, stream = self.tally, self.stream
        members_before, bytes_before = tally.members, tally.bytes
        try:
            for member in stream.members():
                reason = refusal(member, root_bytes=self.writer.root_bytes, reserved=self.reserved)
                if reason is None:
                    self._note(member)
                if member.start < after.offset:
                    continue
                if tally.bytes - bytes_before >= GROUP_BYTES or tally.members - members_before >= GROUP_MEMBERS:
                    self._group_is_done(member.start)
                    members_before, bytes_before = tally.members, tally.bytes
                self._take(member, reason)
        except BadArchive as error:
            tally.broken = error.message
        self._group_is_done(stream.position)
        names = np.frombuffer(self.names, dtype=np.int64) if self.names else np.zeros(0, dtype=np.int64)
        tally.duplicates = len(names) - len(np.unique(names))

    def _group_is_done(self, offset: int) -> None:
        tally = self.tally
        self.journal.group_is_done(offset=offset, members=tally.members, size=tally.bytes, rejected=tally.rejected)

    def _note(self, member: Member) -> None:
        steps = components(member.name)
        if member.kind == "folder" or not steps:
            return
        if len(self.names) % _SAMPLE_EVERY == 0:
            self.tally.samples.append("/".join(steps))
        if looks_like_archive(steps[-1]):
            self.tally.nested.append("/".join(steps))
        self.names.append(hash("/".join(steps)))

    def _take(self, member: Member, reason: str | None) -> None:
        if reason is None:
            try:
                self._write(member)
            except (Refused, DamagedMember) as error:
                reason = error.reason
            except OSError as error:
                if error.errno not in NOT_POSSIBLE:
                    raise
                reason = f"is not possible on this filesystem: {error.strerror}"
        if reason is not None:
            self.tally.rejected += 1
            if self.tally.samples[-1:] == ["/".join(components(member.name))]:
                self.tally.samples.pop()
            self.journal.reject(
                RejectedMember(archive=self.archive, member=member.name, offset=member.start, reason=reason)
            )
            return
        if member.kind != "folder":
            self.tally.members += 1
            self.tally.bytes += member.size if member.kind in ("file", "sparse") else 0

    def _write(self, member: Member) -> None:
        steps = components(member.name)
        if member.kind == "file":
            self.writer.write_file(steps, self.stream.pieces(member.size), mode=member.mode, mtime=member.mtime)
        elif member.sparse is not None:
            pieces = self.stream.segments(member.sparse)
            self.writer.write_sparse_file(steps, pieces, size=member.size, mode=member.mode, mtime=member.mtime)
        elif member.kind == "folder":
            self.writer.make_folder(steps)
        elif member.kind == "symlink":
            self.writer.link(steps, member.link)
        else:
            self.writer.hard_link(steps, components(member.link))
