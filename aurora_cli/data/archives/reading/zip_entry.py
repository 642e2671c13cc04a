"""A member of a zip, from its entry in the directory or from its local header.

Format: PKWARE's APPNOTE 6.3.10, sections 4.3 to 4.5.
"""

import struct
import time
from collections.abc import Iterator
from typing import NamedTuple
from zlib import crc32

from aurora_cli.data.archives.reading.part_stream import PartStream

ENTRY, ENTRY_FIELDS = b"PK\x01\x02", struct.Struct("<4s4B4HL2L5H2L")
_LOCAL, _LOCAL_FIELDS = b"PK\x03\x04", struct.Struct("<4s5H3L2H")
_MANY, _LARGE = 0xFFFF, 0xFFFFFFFF
"""In a field: look into the ZIP64 one."""
_UNIX, _MACOS = 3, 19


class BadZip(Exception):
    """What is wrong with the whole of a zip, and at which byte of it."""

    def __init__(self, reason: str, offset: int) -> None:
        super().__init__(reason)
        self.reason, self.offset = reason, offset


class ZipEntry(NamedTuple):
    """A member. Its name holds undecodable bytes as surrogates."""

    name: str
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    mode: int
    """As `st_mode`; 0: the system that made it has none."""
    mtime: int
    offset: int
    """Of its local header, from the beginning of the first volume."""

    @property
    def is_encrypted(self) -> bool:
        return bool(self.flags & 1)

    @property
    def has_sizes_behind(self) -> bool:
        """Whether a local header lacks sizes and checksum: they follow the data."""
        return bool(self.flags & 8)


def zip_entry(fields: tuple[int, ...], rest: bytes, volumes: tuple[int, ...], where: int) -> ZipEntry:
    (
        _,
        _,
        host,
        _,
        _,
        flags,
        method,
        clock,
        date,
        crc,
        packed,
        size,
        name_size,
        extra_size,
        _,
        volume,
        _,
        *attributes,
    ) = fields
    external, offset = attributes
    raw_name, extra = rest[:name_size], rest[name_size : name_size + extra_size]
    mtime, name = _dos_time(date, clock), _name(raw_name, flags, host)
    for kind, content in _extras(extra):
        if kind == 1:
            size, packed, offset, volume = _large(content, size, packed, offset, volume, where)
        elif kind == 0x5455 and len(content) >= 5 and content[0] & 1:
            mtime = struct.unpack_from("<l", content, 1)[0]
        elif kind == 0x7075 and content[:1] == b"\1" and content[1:5] == struct.pack("<L", crc32(raw_name)):
            name = content[5:].decode("utf-8", "surrogateescape")
    if len(volumes) > 1:
        if volume >= len(volumes):
            raise BadZip("its directory is corrupt (a member in a volume that is not there)", where)
        offset += volumes[volume]
    return ZipEntry(name, flags, method, crc, packed, size, external >> 16, mtime, offset)


def _extras(extra: bytes) -> Iterator[tuple[int, bytes]]:
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<2H", extra)
        yield kind, extra[4 : 4 + size]
        extra = extra[4 + size :]


def _large(content: bytes, size: int, packed: int, offset: int, volume: int, where: int) -> tuple[int, int, int, int]:
    """The values that do not fit their fields, in the order of these."""
    fields = [(size, _LARGE, "<Q"), (packed, _LARGE, "<Q"), (offset, _LARGE, "<Q"), (volume, _MANY, "<L")]
    values, at = [], 0
    for value, mark, form in fields:
        if value == mark:
            if len(content) < at + struct.calcsize(form):
                raise BadZip("its directory is corrupt (a ZIP64 field is too short)", where)
            (value,) = struct.unpack_from(form, content, at)
            at += struct.calcsize(form)
        values.append(value)
    size, packed, offset, volume = values
    return size, packed, offset, volume


def _name(raw: bytes, flags: int, host: int) -> str:
    """A name without a mark is in code page 437 by the format; Unix and macOS write their own, which is UTF-8."""
    is_unix = host in (_UNIX, _MACOS)
    name = raw.decode("utf-8", "surrogateescape") if flags & 0x800 or is_unix else raw.decode("cp437")
    return name if is_unix or "/" in name else name.replace("\\", "/")


def _dos_time(date: int, clock: int) -> int:
    """Seconds since 1970 of a time that was written without its zone: that of this machine."""
    day, month, year = date & 31, date >> 5 & 15, 1980 + (date >> 9)
    second, minute, hour = 2 * (clock & 31), clock >> 5 & 63, clock >> 11
    try:
        return int(time.mktime((year, month, day, hour, minute, second, 0, 0, -1)))
    except (OverflowError, ValueError):
        return 0


class LocalHeader(NamedTuple):
    """What stands before a member's bytes."""

    entry: ZipEntry
    data: int
    """Where the bytes begin."""


def local_header(raw: PartStream, offset: int) -> LocalHeader | None:
    """The header at `offset`; none: there is none."""
    raw.go_to(offset)
    content = raw.read_whole(_LOCAL_FIELDS.size)
    if len(content) < _LOCAL_FIELDS.size or not content.startswith(_LOCAL):
        return None
    _, _, flags, method, clock, date, crc, packed, size, name_size, extra_size = _LOCAL_FIELDS.unpack(content)
    rest = raw.read_whole(name_size + extra_size)
    for kind, extra in _extras(rest[name_size:]):
        if kind == 1 and _LARGE in (size, packed):
            size, packed, _, _ = _large(extra, size, packed, 0, 0, offset)
    name = _name(rest[:name_size], flags, _UNIX)
    entry = ZipEntry(name, flags, method, crc, packed, size, 0, _dos_time(date, clock), offset)
    return LocalHeader(entry, offset + _LOCAL_FIELDS.size + name_size + extra_size)
