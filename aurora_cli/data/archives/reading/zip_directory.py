"""The directory of a zip: its members by name, one at a time, however many there are.

Format: PKWARE's APPNOTE 6.3.10, sections 4.3 and 4.5, with ZIP64 and volumes. Python's `zipfile` holds all members in
memory (a million take 700 MB) and refuses volumes.
"""

import struct
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from aurora_cli.data.archives.reading.part_stream import PartStream
from aurora_cli.data.archives.reading.zip_entry import (
    ENTRY,
    ENTRY_FIELDS,
    BadZip,
    ZipEntry,
    local_header,
    zip_entry,
)

_END, _END_FIELDS = b"PK\x05\x06", struct.Struct("<4s4H2LH")
_END_64, _END_64_FIELDS = b"PK\x06\x06", struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64, _LOCATOR_64_FIELDS = b"PK\x06\x07", struct.Struct("<4sLQL")
_SPLIT_MARKS = (b"PK\x07\x08", b"PK00")
_COMMENT_LIMIT = 1 << 16
_ENTRY_LIMIT = ENTRY_FIELDS.size + 3 * 0xFFFF
_READ_BYTES = 256 << 10


class NoDirectory(BadZip):
    """It ends without its directory, as one does that was cut off."""


class _Directory(NamedTuple):
    begin: int
    size: int
    members: int
    volumes: tuple[int, ...]
    """Where each volume begins."""
    shift: int
    """Bytes that stand before the archive, as of one that unpacks itself."""


def entries(raw: PartStream) -> Iterator[ZipEntry]:
    """The members as the directory lists them.

    Raises:
        NoDirectory: there is none
        BadZip: it is not whole, or volumes are missing
    """
    directory = _find_directory(raw)
    raw.seek(directory.begin)
    buffer, at, left, seen = b"", 0, directory.size, 0
    while left > 0:
        if len(buffer) - at < min(left, _ENTRY_LIMIT):
            buffer, at = buffer[at:] + raw.read_whole(min(_READ_BYTES, left - (len(buffer) - at))), 0
        where = directory.begin + directory.size - left
        if len(buffer) - at < ENTRY_FIELDS.size or not buffer.startswith(ENTRY, at):
            raise BadZip("its directory is corrupt", where)
        fields = ENTRY_FIELDS.unpack_from(buffer, at)
        length = ENTRY_FIELDS.size + sum(fields[12:15])
        if length > len(buffer) - at:
            raise BadZip("its directory is corrupt (an entry is longer than it)", where)
        entry = zip_entry(fields, buffer[at + ENTRY_FIELDS.size : at + length], directory.volumes, where)
        yield entry._replace(offset=entry.offset + directory.shift)
        at, left, seen = at + length, left - length, seen + 1
    if seen & 0xFFFF != directory.members & 0xFFFF:
        raise BadZip(f"its directory has {seen:,} members instead of {directory.members:,}", directory.begin)


def _find_directory(raw: PartStream) -> _Directory:
    tail_size = min(raw.size, _COMMENT_LIMIT + _END_FIELDS.size)
    tail_begin = raw.size - tail_size
    raw.seek(tail_begin)
    tail = raw.read_whole(tail_size)
    at = tail.rfind(_END)
    while at >= 0 and at + _END_FIELDS.size > len(tail):
        at = tail.rfind(_END, 0, at)
    if at < 0:
        raise NoDirectory("the archive is truncated: it ends without its directory", raw.size)
    _, volume, first_volume, _, members, size, offset, _ = _END_FIELDS.unpack_from(tail, at)
    end = tail_begin + at
    if at >= _LOCATOR_64_FIELDS.size and tail.startswith(_LOCATOR_64, at - _LOCATOR_64_FIELDS.size):
        end -= _LOCATOR_64_FIELDS.size + _END_64_FIELDS.size
        raw.seek(max(end, 0))
        content = raw.read_whole(_END_64_FIELDS.size)
        if end < 0 or not content.startswith(_END_64):
            raise BadZip("its directory is corrupt (the end of a ZIP64 is not where it should be)", max(end, 0))
        _, _, _, _, volume, first_volume, _, members, size, offset = _END_64_FIELDS.unpack(content)
    volumes = _volumes(raw.sizes, volume + 1)
    begin, shift = volumes[min(first_volume, len(volumes) - 1)] + offset, 0
    if len(volumes) == 1 and begin + size != end:
        shift = end - size - begin
        begin += shift
    if begin < 0 or begin + size > end:
        raise BadZip("its directory is corrupt (it is not where it should be)", end)
    return _Directory(begin, size, members, volumes, shift)


def _volumes(sizes: Sequence[int], volumes: int) -> tuple[int, ...]:
    """Where each volume begins; a single one may lie in several files, cut anywhere."""
    if volumes == 1:
        return (0,)
    if volumes != len(sizes):
        raise BadZip(f"it is the last of {volumes} volumes, and {len(sizes)} are here", 0)
    return tuple(accumulate(sizes[:-1], initial=0))


def entries_without_directory(raw: PartStream) -> Iterator[ZipEntry]:
    """The members whose headers and bytes stand one behind the other from the start, as far as they are whole.

    Raises:
        NoDirectory: they end, or one does not say how long it is
    """
    raw.seek(0)
    offset = 4 if raw.read_whole(4) in _SPLIT_MARKS else 0
    while True:
        header = local_header(raw, offset)
        if header is None or (header.entry.has_sizes_behind and not header.entry.packed):
            raise NoDirectory("the archive is truncated: it ends without its directory", offset)
        if header.data + header.entry.packed > raw.size:
            raise NoDirectory(f"the archive is truncated: it ends in member {header.entry.name!r}", offset)
        offset = header.data + header.entry.packed
        yield header.entry
