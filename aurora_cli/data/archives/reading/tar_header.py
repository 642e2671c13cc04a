"""The headers of a tar, block by block.

They are decoded by the standard library's `TarInfo`, but for the plainest. Formats: POSIX.1-2017 `pax` (ustar and pax),
GNU tar manual, "Basic Tar Format".
"""

import tarfile
from typing import Literal, NamedTuple

from aurora_cli.data.archives.reading.sparse import SparseMap

BLOCK = 512
EXTENSION_LIMIT = 1 << 20
"""A long name or a pax header above this is no name."""
VOLUME_LABEL = b"V"

Kind = Literal["file", "folder", "symlink", "hardlink", "device", "fifo", "sparse", "unknown"]
KINDS: dict[bytes, Kind] = {
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


class Member(NamedTuple):
    """A header of the archive. `name` and `link` hold undecodable bytes as surrogates (PEP 383)."""

    name: str
    kind: Kind
    size: int
    """Of the file that it becomes."""
    start: int
    """Offset of its first header block, long-name and pax blocks included."""
    data: int
    """Offset of its payload."""
    mode: int
    mtime: float
    link: str
    stored: int
    """Bytes of its payload; of a sparse one fewer than its size."""
    sparse: SparseMap | None = None
    damage: str | None = None
    """Why its bytes cannot be had, where that is known before them."""

    @property
    def end(self) -> int:
        """Offset of what follows it."""
        return self.data + (0 if self.kind in _NO_PAYLOAD else -(-self.stored // BLOCK) * BLOCK)


class Header(NamedTuple):
    """The fields of one block that are used; `TarInfo` has them by the same names."""

    name: str
    type: bytes
    size: int
    mode: int
    mtime: float
    linkname: str


def plain_header(block: bytes) -> Header | None:
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
    return Header(name.decode("utf-8", "surrogateescape"), tarfile.REGTYPE, size, mode, mtime, "")


_NUMBERS = ((100, 108), (124, 136), (136, 148), (148, 156))
"""Where mode, size, time and checksum stand."""


def pax_records(content: bytes) -> dict[str, str] | None:
    """Records of `<length> <key>=<value>\\n`; none: they are corrupt.

    A sparse map of GNU's format 0.0 repeats its keys; here it is as 0.1 has it, one list.
    """
    values: dict[str, str] = {}
    while content.strip(b"\0"):
        digits, _, _ = content.partition(b" ")
        length = int(digits) if digits.isdigit() and len(digits) < 10 else 0
        record, content = content[:length], content[length:]
        key, equals, value = record[len(digits) + 1 :].partition(b"=")
        if not equals or len(record) != length or not record.endswith(b"\n"):
            return None
        name, text = key.decode("utf-8", "surrogateescape"), value[:-1].decode("utf-8", "surrogateescape")
        if name in ("GNU.sparse.offset", "GNU.sparse.numbytes"):
            before = values.get("GNU.sparse.map")
            name, text = "GNU.sparse.map", text if before is None else f"{before},{text}"
        values[name] = text
    return values
