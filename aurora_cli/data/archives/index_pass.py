"""One pass over an archive: where each member lies, or why it is nowhere."""

import posixpath

from isal import isal_zlib

from aurora_cli.data.archives.finding.unread import looks_like_archive
from aurora_cli.data.archives.index_table import Extent
from aurora_cli.data.archives.index_writer import IndexWriter
from aurora_cli.data.archives.journal import Journal
from aurora_cli.data.archives.policy import components, refusal
from aurora_cli.data.archives.reading.chunks import DamagedMember
from aurora_cli.data.archives.reading.sparse import SparseMap
from aurora_cli.data.archives.reading.tar_bytes import BadArchive
from aurora_cli.data.archives.reading.tar_header import Member
from aurora_cli.data.archives.reading.tar_reader import TarStream
from aurora_cli.data.archives.receipt import RejectedMember, Tally
from aurora_cli.data.archives.safe_folder import FolderWriter, Refused

_SAMPLES = 16


class IndexPass:
    """Fills `writer` and `tally` from `stream`; `reserved` are names in `folder` that no member may have."""

    def __init__(
        self,
        stream: TarStream,
        writer: IndexWriter,
        folder: FolderWriter,
        journal: Journal,
        tally: Tally,
        reserved: frozenset[str],
    ) -> None:
        self.stream, self.writer, self.folder, self.journal, self.tally = stream, writer, folder, journal, tally
        self.reserved = reserved
        self.sparse: set[str] = set()

    def run(self) -> None:
        tally = self.tally
        try:
            for member in self.stream.members():
                reason = refusal(member, root_bytes=0)
                if reason is None and member.kind != "folder":
                    reason = self._take(member)
                if reason is not None:
                    self._reject(member.name, member.start, reason)
        except BadArchive as error:
            tally.broken = error.message
        for name, offset, reason in self.writer.resolve_links():
            self._reject(name, offset, reason)
            tally.members -= 1
        tally.duplicates = self.writer.duplicates

    def _reject(self, name: str, offset: int, reason: str) -> None:
        self.tally.rejected += 1
        archive = str(self.stream.archive.path)
        self.journal.reject(RejectedMember(archive=archive, member=name, offset=offset, reason=reason))

    def _take(self, member: Member) -> str | None:
        """Note where a member lies, or say why it is nowhere."""
        name = "/".join(components(member.name))
        if name in self.sparse:
            return "has the name of a sparse member before it"
        if looks_like_archive(posixpath.basename(name)):
            self.tally.nested.append(name)
        reason = None
        if member.kind == "file":
            reason = self._take_file(name, member)
        elif member.sparse is not None:
            reason = self._write_sparse(name, member, member.sparse)
        elif member.kind == "hardlink":
            to = "/".join(components(member.link))
            if (
                extent := self.writer.find(to)
            ) is None:  # a hard link is to what the name stands for here, not in the end
                return f"links to {to!r}, which is no file of the archive so far"
            self.writer.add(name, extent)
        else:
            to = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.link))
            self.writer.link(name, "/".join(components(to)), member.start)
        if reason is None:
            self.tally.members += 1
        return reason

    def _take_file(self, name: str, member: Member) -> str | None:
        crc = 0
        try:
            for piece in self.stream.pieces(member.size):
                crc = isal_zlib.crc32(piece, crc)
        except DamagedMember as error:
            return error.reason
        self.writer.add(name, Extent(member.data, member.size, crc))
        self.tally.bytes += member.size
        return None

    def _write_sparse(self, name: str, member: Member, sparse: SparseMap) -> str | None:
        """A file of its own, which counts before a member of its name."""
        reason = refusal(member, root_bytes=self.folder.root_bytes, reserved=self.reserved)
        if reason is None:
            pieces = self.stream.segments(sparse)
            try:
                self.folder.write_sparse_file(
                    components(name), pieces, size=member.size, mode=member.mode, mtime=member.mtime
                )
            except Refused as error:
                reason = error.reason
        if reason is None:
            self.sparse.add(name)
            if len(self.tally.samples) < _SAMPLES:
                self.tally.samples.append(name)
            self.tally.bytes += member.size
        return reason
