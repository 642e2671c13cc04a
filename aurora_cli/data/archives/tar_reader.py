"""A tar archive read once, front to back: gzipped or plain, whole or in parts, in constant memory.

Headers are decoded by the standard library's `TarInfo`, but for the plainest; `TarFile` copies each payload several
times, so the walk from header to header is here. Formats: POSIX.1-2017 `pax` (ustar and pax), GNU tar manual, "Basic
Tar Format".
Offsets count bytes of the uncompressed tar unless said otherwise.
"""

import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from aurora_cli.data.archives.inflate import Broken, chunks_ahead
from aurora_cli.data.archives.parts import Archive
from aurora_cli.errors import DataError

Advance = Callable[[int, int], None]
"""Told the bytes of the archive, and the members of it, that were read since the last call."""

BLOCK = 512
_EXTENSION_LIMIT = 1 << 20
"""A long name or a pax header above this is no name."""

Kind = Literal["file", "folder", "symlink", "hardlink", "device", "fifo", "sparse", "unknown"]
_KINDS: dict[bytes, Kind] = {
    tarfile.REGTYPE: "file",
    tarfile.AREGTYPE: "file",
    tarfile.CONTTYPE: "file",
    tarfile.DIRTYPE: "folder",
    tarfile.SYMTYPE: "symlink",
    tarfile.LNKTYPE: "hardlink",
    tarfile.CHRTYPE: "device",
    tarfile.BLKTYPE: "device",
    tarfile.FIFOTYPE: "fifo",
    tarfile.GNUTYPE_SPARSE: "sparse",
}
_NO_PAYLOAD = ("folder", "symlink", "hardlink", "device", "fifo")
_VOLUME_LABEL = b"V"


class BadArchive(DataError):
    """An archive that ends too early or holds what is no tar: which, where, in or behind which member."""

    def __init__(self, archive: Path, reason: str, offset: int, member: str | None = None) -> None:
        self.archive, self.reason, self.offset, self.member = archive, reason, offset, member
        within = f", {member}" if member else ""
        super().__init__(f"{archive}: {reason} at byte {offset:,} of the tar{within}")


class Member(NamedTuple):
    """A header of the archive. `name` and `link` hold undecodable bytes as surrogates (PEP 383)."""

    name: str
    kind: Kind
    size: int
    start: int
    """Offset of its first header block, long-name and pax blocks included."""
    data: int
    """Offset of its payload."""
    mode: int
    mtime: float
    link: str


class _Header(NamedTuple):
    """The fields of one block that are used; `TarInfo` has them by the same names."""

    name: str
    type: bytes
    size: int
    mode: int
    mtime: float
    linkname: str


def _plain_header(block: bytes) -> _Header | None:
    """A plain file's header, without the 40 us that `TarInfo` takes; none: `TarInfo` must say what it is.

    As in GNU tar, what the old GNU format keeps where POSIX has the prefix is no part of the name.
    """
    numbers = [block[begin:end].strip(b" \0") for begin, end in _NUMBERS]
    if block[156:157] not in b"0\0" or block[257:262] != b"ustar" or not all(map(bytes.isdigit, numbers)):
        return None
    try:
        mode, size, mtime, checksum = (int(number, 8) for number in numbers)
    except ValueError:
        return None
    if sum(block) - sum(block[148:156]) + 8 * ord(" ") != checksum:
        return None
    name = block[:100].partition(b"\0")[0]
    if block[262] == 0 and (prefix := block[345:500].partition(b"\0")[0]):
        name = prefix + b"/" + name
    return _Header(name.decode("utf-8", "surrogateescape"), tarfile.REGTYPE, size, mode, mtime, "")


_NUMBERS = ((100, 108), (124, 136), (136, 148), (148, 156))
"""Where mode, size, time and checksum stand."""


class TarStream:
    """The members of `archive` in their order; use as a context, so that the reading thread ends.

    `tee` is given the uncompressed tar as it arrives.
    """

    def __init__(
        self,
        archive: Archive,
        *,
        max_inflation: float,
        advance: Advance,
        tee: Callable[[memoryview], None] | None = None,
    ) -> None:
        self.archive = archive
        self.position = 0
        self._tee = tee
        self._advance_by, self._consumed, self._begun = advance, 0, 0
        self._chunk = memoryview(b"")
        self._chunks = chunks_ahead(archive, max_inflation)
        self._where: str | None = None

    def __enter__(self) -> "TarStream":
        return self

    def __exit__(self, *_: object) -> None:
        self._chunks.close()

    def bad(self, reason: str, offset: int | None = None) -> BadArchive:
        return BadArchive(self.archive.path, reason, self.position if offset is None else offset, self._where)

    def members(self) -> Iterator[Member]:
        """Every header; the payload of one is read with `pieces` before the next is asked for, or skipped.

        Raises:
            BadArchive: the archive is truncated, corrupt, or goes on behind its end
        """
        shared: dict[str, str] = {}
        while True:
            member, shared = self._next_header(shared)
            if member is None:
                self._finish()
                return
            self._where = f"in member {member.name!r}"
            self._begun += 1
            yield member
            behind = member.data + (0 if member.kind in _NO_PAYLOAD else -(-member.size // BLOCK) * BLOCK)
            for _ in self.pieces(behind - self.position):
                pass
            self._where = f"behind member {member.name!r}"

    def pieces(self, size: int) -> Iterator[memoryview]:
        """The next `size` bytes, uncopied, in pieces."""
        while size > 0:
            if not self._chunk and not self._advance():
                raise self.bad("the archive is truncated: it ends")
            piece = self._chunk[:size]
            self._chunk = self._chunk[len(piece) :]
            self.position += len(piece)
            size -= len(piece)
            yield piece

    def _read(self, size: int) -> bytes:
        if len(self._chunk) >= size:
            piece = bytes(self._chunk[:size])
            self._chunk = self._chunk[size:]
            self.position += size
            return piece
        return b"".join(self.pieces(size))

    def _advance(self) -> bool:
        following = next(self._chunks, None)
        if isinstance(following, Broken):
            raise self.bad(following.reason)
        if following is None:
            return False
        self._chunk = memoryview(following.content)
        if self._tee is not None:
            self._tee(self._chunk)
        self._advance_by(following.consumed - self._consumed, self._begun)
        self._consumed, self._begun = following.consumed, 0
        return True

    def _next_header(self, shared: dict[str, str]) -> tuple[Member | None, dict[str, str]]:
        """The next member, or none at the end marker; `shared` are the pax values that hold for all that follow."""
        start = self.position
        own: dict[str, str] = {}
        while True:
            offset = self.position
            if not self._chunk and not self._advance():
                raise self.bad("the archive is truncated: it stops without the end marker")
            block = self._read(BLOCK)
            try:
                info = _plain_header(block) or tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            except tarfile.EOFHeaderError:  # pyright: ignore[reportAttributeAccessIssue]
                if own:
                    raise self.bad("a long name or pax header without its member", offset) from None
                return None, shared
            except tarfile.HeaderError as error:
                what = "this is no tar" if offset == 0 else "corrupt header"
                raise self.bad(f"{what} ({error})", offset) from None
            if info.size < 0:
                raise self.bad("corrupt header (negative size)", offset)
            if info.type in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
                key = "path" if info.type == tarfile.GNUTYPE_LONGNAME else "linkpath"
                own[key] = self._extension(info.size, offset).split(b"\0")[0].decode("utf-8", "surrogateescape")
            elif info.type == tarfile.XGLTYPE:
                shared = shared | self._pax(info.size, offset)
            elif info.type in (tarfile.XHDTYPE, tarfile.SOLARIS_XHDTYPE):
                own |= self._pax(info.size, offset)
            elif info.type != _VOLUME_LABEL:
                if info.type == tarfile.GNUTYPE_SPARSE:
                    self._skip_sparse_map(goes_on=block[482])
                return self._member_of(info, start, shared | own), shared

    def _member_of(self, info: _Header | tarfile.TarInfo, start: int, pax: dict[str, str]) -> Member:
        kind = _KINDS.get(info.type, "unknown")
        if any(key.startswith("GNU.sparse") for key in pax):
            kind = "sparse"
        try:
            size = int(pax.get("size", info.size))
            mtime = float(pax.get("mtime", info.mtime))
        except ValueError:
            raise self.bad("corrupt pax header (size or time is no number)", start) from None
        if size < 0:
            raise self.bad("corrupt pax header (negative size)", start)
        name = pax.get("path", info.name)
        if kind == "file" and name.endswith("/") and size == 0:  # how tars of 1979 write a folder
            kind = "folder"
        return Member(name, kind, size, start, self.position, info.mode, mtime, pax.get("linkpath", info.linkname))

    def _skip_sparse_map(self, goes_on: int) -> None:
        """A sparse file of more than four pieces lists the others in blocks of their own."""
        while goes_on:
            goes_on = self._read(BLOCK)[504]

    def _extension(self, size: int, offset: int) -> bytes:
        if size > _EXTENSION_LIMIT:
            raise self.bad(f"corrupt header (a name of {size:,} bytes)", offset)
        return self._read(-(-size // BLOCK) * BLOCK)[:size]

    def _pax(self, size: int, offset: int) -> dict[str, str]:
        """Records of `<length> <key>=<value>\\n`."""
        content, values = self._extension(size, offset), {}
        while content.strip(b"\0"):
            digits, _, _ = content.partition(b" ")
            length = int(digits) if digits.isdigit() and len(digits) < 10 else 0
            record, content = content[:length], content[length:]
            key, equals, value = record[len(digits) + 1 :].partition(b"=")
            if not equals or len(record) != length or not record.endswith(b"\n"):
                raise self.bad("corrupt pax header", offset)
            values[key.decode("utf-8", "surrogateescape")] = value[:-1].decode("utf-8", "surrogateescape")
        return values

    def _finish(self) -> None:
        """Behind the first zero block: the second, then nothing but padding."""
        offset = self.position
        if not self._chunk and not self._advance():
            raise self.bad("the archive is truncated: its end marker is half")
        if self._read(BLOCK).strip(b"\0"):
            raise self.bad("corrupt header (a lone block of zeros before it)", offset)
        while self._chunk or self._advance():
            if bytes(self._chunk).strip(b"\0"):
                raise self.bad("something follows the end marker, a second archive perhaps,")
            self.position += len(self._chunk)
            self._chunk = memoryview(b"")
