"""A zip as the tar that would hold the same members: all that follows - what may be written, journals, indexes - is the
tar's. Members come in the order of the zip's directory; one that cannot be had does not keep the others.
"""

import bz2
import stat
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from isal import igzip_lib, isal_zlib

from aurora_cli.data.archives.reading.chunks import CHUNK_BYTES, READ_BYTES, Broken, Chunk, Damaged, Guard
from aurora_cli.data.archives.reading.part_stream import PartStream
from aurora_cli.data.archives.reading.zip_directory import NoDirectory, entries, entries_without_directory
from aurora_cli.data.archives.reading.zip_entry import BadZip, ZipEntry, local_header

_BLOCK = 512
_STORED, _DEFLATED, _BZIP2 = 0, 8, 12
_METHODS = {9: "Deflate64", 14: "LZMA", 93: "Zstandard", 95: "XZ", 98: "PPMd", 99: "AES"}
"""Names of methods that are not read."""
_LONGEST_LINK = 4_096
_MOST_BYTES = {_STORED: 1, _DEFLATED: 1_033, _BZIP2: 2_000_000}
"""Method -> what a byte of its data can become, or a little more: bzip2 writes 45 MB of zeros in some 50 bytes."""
_SPECIAL = {stat.S_IFCHR: tarfile.CHRTYPE, stat.S_IFBLK: tarfile.BLKTYPE, stat.S_IFIFO: tarfile.FIFOTYPE}


class _CannotBeHad(Exception):
    """Why a member's bytes are not what the zip says."""


def zip_to_tar(files: Sequence[Path], max_inflation: float) -> Iterator[Chunk | Broken | Damaged]:
    """The tar's bytes. `files` are the zip, or its volumes, or pieces that it was cut into."""
    with PartStream(files) as directory, PartStream(files) as raw:
        furthest = 0

        def consumed() -> int:
            nonlocal furthest
            furthest = max(furthest, raw.tell())
            return furthest

        guard = Guard(max_inflation, consumed)
        try:
            for entry in _members(directory):
                for item in _as_tar(raw, entry):
                    if not isinstance(item, bytes):
                        yield item
                        continue
                    yield Chunk(item, consumed())
                    if (bomb := guard.bomb(len(item))) is not None:
                        yield bomb
                        return
        except BadZip as error:
            yield Broken(error.reason, error.offset)
            return
        yield Chunk(bytes(2 * _BLOCK), raw.size)


def _members(directory: PartStream) -> Iterator[ZipEntry]:
    try:
        yield from entries(directory)
    except NoDirectory:
        yield from entries_without_directory(directory)


def _as_tar(raw: PartStream, entry: ZipEntry) -> Iterator[bytes | Damaged]:
    """Header, payload and padding of a member."""
    kind = stat.S_IFMT(entry.mode)
    if entry.name.endswith("/") or kind == stat.S_IFDIR:
        yield _header(entry, tarfile.DIRTYPE)
    elif kind in _SPECIAL:
        yield _header(entry, _SPECIAL[kind])
    elif (reason := _refusal(entry)) is not None:
        yield from _damaged(entry, reason)
    elif kind == stat.S_IFLNK:
        yield from _link(raw, entry)
    elif entry.size <= CHUNK_BYTES:
        try:
            content = b"".join(_content(raw, entry))
        except _CannotBeHad as error:
            yield from _damaged(entry, str(error))
        else:
            yield _header(entry, tarfile.REGTYPE) + content + bytes(-entry.size % _BLOCK)
    else:
        yield _header(entry, tarfile.REGTYPE)
        yield from _large_payload(raw, entry)


def _refusal(entry: ZipEntry) -> str | None:
    """Why a member is not read, as far as its entry tells."""
    if entry.is_encrypted:
        return "is encrypted"
    if entry.method not in (_STORED, _DEFLATED, _BZIP2):
        return f"is compressed by a method that is not read ({_METHODS.get(entry.method, f'number {entry.method}')})"
    if stat.S_IFMT(entry.mode) not in (0, stat.S_IFREG, stat.S_IFLNK):
        return "is of an unknown type"
    if entry.method == _STORED and entry.size != entry.packed:
        return f"is corrupt: {entry.packed:,} bytes are stored of {entry.size:,}"
    if entry.size > _MOST_BYTES[entry.method] * (entry.packed + 1):
        return f"is corrupt: {entry.packed:,} bytes cannot inflate to {entry.size:,}"
    return None


def _damaged(entry: ZipEntry, reason: str) -> Iterator[bytes | Damaged]:
    yield Damaged(reason)
    yield _header(entry._replace(size=0), tarfile.REGTYPE)


def _link(raw: PartStream, entry: ZipEntry) -> Iterator[bytes | Damaged]:
    if entry.size > _LONGEST_LINK:
        yield from _damaged(entry, f"is a link of {entry.size:,} bytes")
        return
    try:
        target = b"".join(_content(raw, entry)).decode("utf-8", "surrogateescape")
    except _CannotBeHad as error:
        yield from _damaged(entry, str(error))
    else:
        yield _header(entry, tarfile.SYMTYPE, target)


def _large_payload(raw: PartStream, entry: ZipEntry) -> Iterator[bytes | Damaged]:
    """The last piece is held back until the checksum is known; what cannot be had is filled up with zeros."""
    done, held = 0, b""
    try:
        for piece in _content(raw, entry):
            if held:
                done += len(held)
                yield held
            held = piece
    except _CannotBeHad as error:
        yield Damaged(str(error))
        while done < entry.size:
            held = bytes(min(CHUNK_BYTES, entry.size - done))
            done += len(held)
            yield held
        held = b""
    yield held + bytes(-entry.size % _BLOCK)


def _content(raw: PartStream, entry: ZipEntry) -> Iterator[bytes]:
    """A member's bytes, `entry.size` of them at most; the checksum is right when they end.

    Raises:
        _CannotBeHad: they are not what the entry says
    """
    header = local_header(raw, entry.offset)
    if header is None:
        raise _CannotBeHad("is corrupt: it is not where the directory says")
    raw.go_to(header.data)
    pieces = _stored(raw, entry.packed) if entry.method == _STORED else _decompressed(raw, entry)
    size, crc = 0, 0
    for piece in pieces:
        size, crc = size + len(piece), isal_zlib.crc32(piece, crc)
        if size > entry.size:
            raise _CannotBeHad(f"is corrupt: it has more than {entry.size:,} bytes")
        yield piece
    if size != entry.size:
        raise _CannotBeHad(f"is corrupt: it has {size:,} bytes instead of {entry.size:,}")
    if crc != entry.crc:
        raise _CannotBeHad("is corrupt: its checksum is wrong")


def _stored(raw: PartStream, size: int) -> Iterator[bytes]:
    while size and (content := raw.read(min(READ_BYTES, size))):
        size -= len(content)
        yield content


def _decompressed(raw: PartStream, entry: ZipEntry) -> Iterator[bytes]:
    is_deflated = entry.method == _DEFLATED
    opened = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_DEFLATE) if is_deflated else bz2.BZ2Decompressor()
    left = entry.packed
    try:
        while not opened.eof:
            packed = raw.read(min(READ_BYTES, left)) if opened.needs_input else b""
            if opened.needs_input and not packed:
                return
            left -= len(packed)
            if content := opened.decompress(packed, CHUNK_BYTES):
                yield content
    except (igzip_lib.IsalError, OSError) as error:  # pyrefly: ignore[not-a-type] - isal's stub says instance
        if isinstance(error, OSError) and error.errno is not None:  # of the disk, not of the data
            raise
        raise _CannotBeHad(f"is corrupt: {error}") from error


def _header(entry: ZipEntry, kind: bytes, link: str = "") -> bytes:
    info = tarfile.TarInfo(entry.name)
    info.type, info.linkname = kind, link
    info.size = entry.size if kind == tarfile.REGTYPE else 0
    info.mode = stat.S_IMODE(entry.mode) or (0o755 if kind == tarfile.DIRTYPE else 0o644)
    info.mtime = max(entry.mtime, 0)
    if "\0" in entry.name + link:  # which would end them where they stand in the header itself
        info.pax_headers = {"path": entry.name, "linkpath": link}
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
