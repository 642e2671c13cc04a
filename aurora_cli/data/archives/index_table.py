"""The index of a tar as a file: where each member's bytes lie, found by name in a microsecond, without loading it.

`NAME.tar.index` has the form of a safetensors file (8 bytes of length, a JSON header, arrays): any tool for those opens
it. It is mapped, so opening costs the same for ten members and ten million, and processes share its memory.
Arrays of N members, in the order of their keys, little-endian:

    key, offset, size, name_end   I64 (N,)
    crc32                         U32 (N,)
    names                         U8, one behind the other; a name ends at its name_end

A key is crc32(folder) without its highest bit, then crc32(file name): the members of a folder are neighbours.
"""

import json
import mmap
import os
import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable
from contextlib import ExitStack
from itertools import accumulate, islice
from pathlib import Path
from typing import Literal, NamedTuple
from zlib import crc32

from aurora_cli.io.safetensors_header import tensor_header

_Code = Literal["q", "I", "B"]
_COLUMNS: tuple[tuple[str, str, _Code, int], ...] = (
    ("key", "I64", "q", 8),
    ("offset", "I64", "q", 8),
    ("size", "I64", "q", 8),
    ("name_end", "I64", "q", 8),
    ("crc32", "U32", "I", 4),
    ("names", "U8", "B", 1),
)
"""Name, type in safetensors, type in Python's arrays, bytes."""
_ROWS_AT_A_TIME = 4_096


class Extent(NamedTuple):
    """Where a member's bytes lie in its tar."""

    offset: int
    size: int
    crc32: int


class TableRow(NamedTuple):
    key: int
    name: bytes
    offset: int
    size: int
    crc32: int


def key_of(name: bytes) -> int:
    folder, _, base = name.rpartition(b"/")
    return (crc32(folder) & 0x7FFFFFFF) << 32 | crc32(base)


def write_table(path: Path, rows: Iterable[TableRow], *, count: int, name_bytes: int, about: dict[str, str]) -> None:
    """Write `count` rows, sorted by (key, name), whose names have `name_bytes` together. Memory does not grow."""
    _little_endian()
    lengths = {column: name_bytes if column == "names" else count for column, *_ in _COLUMNS}
    head = tensor_header(((column, dtype, [lengths[column]]) for column, dtype, *_ in _COLUMNS), about)
    path.write_bytes(head)
    with ExitStack() as stack:
        files, begin = {}, len(head)
        for column, _, _, item_bytes in _COLUMNS:
            files[column] = stack.enter_context(open(path, "r+b"))
            files[column].seek(begin)
            begin += lengths[column] * item_bytes
        rows, end = iter(rows), 0
        while batch := list(islice(rows, _ROWS_AT_A_TIME)):
            keys, names, offsets, sizes, sums = zip(*batch, strict=True)
            ends = list(accumulate(map(len, names), initial=end))[1:]
            end = ends[-1]
            for column, values in (("key", keys), ("offset", offsets), ("size", sizes), ("name_end", ends)):
                files[column].write(array("q", values).tobytes())
            files["crc32"].write(array("I", sums).tobytes())
            files["names"].write(b"".join(names))


class TarTable:
    """An index, opened. Threads and forked processes may share one.

    Raises:
        OSError: there is no such file
        ValueError: it is no index, or not all of one
    """

    def __init__(self, path: Path) -> None:
        _little_endian()
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < 8:
                raise ValueError(f"{path}: no index")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        begin = 8 + struct.unpack("<Q", self._map[:8])[0]
        if begin > min(size, 1 << 20):
            raise ValueError(f"{path}: no index")
        header = json.loads(self._map[8:begin])
        columns, whole = {}, memoryview(self._map)
        try:
            self.about: dict[str, str] = header["__metadata__"]
            for column, dtype, code, _ in _COLUMNS:
                first, last = header[column]["data_offsets"]
                if header[column]["dtype"] != dtype or not 0 <= first <= last <= size - begin:
                    raise ValueError(f"{path}: not a whole index")
                columns[column] = whole[begin + first : begin + last].cast(code)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path}: no index") from error
        if len({len(columns[column]) for column in columns if column != "names"}) != 1:
            raise ValueError(f"{path}: no index")
        self._keys, self._ends = columns["key"], columns["name_end"]
        self._offsets, self._sizes, self._sums = columns["offset"], columns["size"], columns["crc32"]
        self._names = begin + header["names"]["data_offsets"][0]

    def __len__(self) -> int:
        return len(self._keys)

    def find(self, name: bytes) -> Extent | None:
        key = key_of(name)
        row = bisect_left(self._keys, key)
        while row < len(self._keys) and self._keys[row] == key:
            if self._name(row) == name:
                return Extent(self._offsets[row], self._sizes[row], self._sums[row])
            row += 1
        return None

    def files_in(self, folder: bytes) -> list[bytes]:
        """The names, without the folder's, of the members right in a folder, in any order."""
        prefix = folder + b"/" if folder else b""
        first = (crc32(folder) & 0x7FFFFFFF) << 32
        rows = range(bisect_left(self._keys, first), bisect_left(self._keys, first + (1 << 32)))
        names = [name[len(prefix) :] for name in map(self._name, rows) if name.startswith(prefix)]
        return [name for name in names if b"/" not in name]

    def _name(self, row: int) -> bytes:
        return self._map[self._names + (self._ends[row - 1] if row else 0) : self._names + self._ends[row]]


def _little_endian() -> None:
    if sys.byteorder != "little":
        raise NotImplementedError("indexes are little-endian, and mapped as they are")
