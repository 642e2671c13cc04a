"""Where each medium's features lie in a segment: a log while it is written, a sorted table when it is done.

A segment is three names in the folder of a `FeatureSpace`, written by one process:

    NAME.features   the features of medium after medium, one behind the other
    NAME.log        an entry of 40 bytes a medium, in the order of writing; it is there while the segment is written
    NAME.index      the same, sorted by key: a safetensors file of the columns high, low, offset, size, crc32

An entry is written when its features are, and has a check of its own: a torn tail, or what a power cut leaves, is no
entry. Features are read with their checksum.
"""

import json
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aurora_cli.io.atomic import atomic_write
from aurora_cli.io.safetensors_header import tensor_header

DATA_SUFFIX, LOG_SUFFIX, INDEX_SUFFIX = ".features", ".log", ".index"

ENTRY = np.dtype(
    [("high", "<i8"), ("low", "<i8"), ("offset", "<i8"), ("size", "<u4"), ("crc32", "<u4"), ("check", "<u8")]
)
KEY = np.dtype([("high", "<i8"), ("low", "<i8")])
COLUMNS = (("high", "I64", "<i8"), ("low", "I64", "<i8"), ("offset", "I64", "<i8"), ("size", "U32", "<u4"),
           ("crc32", "U32", "<u4"))  # fmt: skip
"""Name, type in safetensors, type in numpy."""


class Extent(NamedTuple):
    """Where features lie in a file."""

    file: Path
    offset: int
    size: int
    crc32: int


class Table(NamedTuple):
    """The entries of a segment, sorted by `high`."""

    file: Path
    """Its features."""
    high: np.ndarray
    low: np.ndarray
    offset: np.ndarray
    size: np.ndarray
    crc32: np.ndarray

    def find(self, keys: np.ndarray) -> list[Extent | None]:
        """Of each key (`KEY`) the newest entry; none: there is none."""
        first, last = (np.searchsorted(self.high, keys["high"], side) for side in ("left", "right"))
        return [
            self._among(row, end, low) if row < end else None
            for row, end, low in zip(first.tolist(), last.tolist(), keys["low"].tolist(), strict=True)
        ]

    def _among(self, first: int, last: int, low: int) -> Extent | None:
        for row in range(last - 1, first - 1, -1):
            if self.low[row] == low:
                return Extent(self.file, int(self.offset[row]), int(self.size[row]), int(self.crc32[row]))
        return None


def entry(key: bytes, offset: int, size: int, crc32: int) -> bytes:
    """What a log has of a medium whose features lie there."""
    made = np.zeros(1, ENTRY)
    made[["high", "low"]] = np.frombuffer(key, KEY)
    made["offset"], made["size"], made["crc32"] = offset, size, crc32
    made["check"] = _checks(made)
    return made.tobytes()


def read_log(path: Path, first: int = 0) -> np.ndarray:
    """The whole entries of a log from number `first` on, up to one that is not sound."""
    entries = np.fromfile(path, ENTRY, offset=first * ENTRY.itemsize)
    unsound = np.flatnonzero(entries["check"] != _checks(entries))
    return entries[: unsound[0]] if len(unsound) else entries


def table_of(file: Path, entries: np.ndarray) -> Table:
    """The entries of a log, sorted; of one key the newest last."""
    order = np.argsort(entries["high"], kind="stable")
    return Table(file, *(np.ascontiguousarray(entries[column][order]) for column, *_ in COLUMNS))


def merged(older: Table, newer: Table) -> Table:
    """Both as one; of one key the newest last."""
    columns = [np.concatenate([getattr(older, column), getattr(newer, column)]) for column, *_ in COLUMNS]
    order = np.argsort(columns[0], kind="stable")
    return Table(older.file, *(column[order] for column in columns))


def write_index(path: Path, table: Table) -> None:
    """Write it to `path`, whole or not at all."""
    with atomic_write(path) as file:
        file.write(tensor_header(((column, dtype, [len(table.high)]) for column, dtype, _ in COLUMNS), {}))
        for column, _, code in COLUMNS:
            file.write(getattr(table, column).astype(code, copy=False).tobytes())


def open_index(path: Path) -> Table:
    """An index, mapped.

    Raises:
        OSError: it is not there.
        ValueError: it is no index.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        begin = 8 + int.from_bytes(file.read(8), "little")
        if begin > size:
            raise ValueError(f"{path}: is no index of features")
        header = json.loads(file.read(begin - 8))
    columns = []
    try:
        for column, _, code in COLUMNS:
            start, end = header[column]["data_offsets"]
            count = header[column]["shape"][0]
            if begin + end > size or end - start != count * np.dtype(code).itemsize:
                raise ValueError(f"{path}: is not a whole index of features")
            columns.append(np.memmap(path, code, "r", begin + start, (count,)))
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{path}: is no index of features") from error
    return Table(path.with_suffix(DATA_SUFFIX), *columns)


def seal(log: Path) -> None:
    """Turn a log that is written no more into an index; one without entries goes, and its features."""
    data = log.with_suffix(DATA_SUFFIX)
    entries = read_log(log)
    if len(entries):
        write_index(log.with_suffix(INDEX_SUFFIX), table_of(data, entries))
    else:
        data.unlink(missing_ok=True)
    os.unlink(log)  # noqa: PTH108 - beside os.open of the writer


def _checks(entries: np.ndarray) -> np.ndarray:
    """uint64: of each entry, over all its other fields; that of zeros is not zero."""
    mixed = np.full(len(entries), 0x243F6A8885A308D3, np.uint64)  # digits of pi
    for field in ("high", "low", "offset", "size", "crc32"):
        mixed = (mixed ^ entries[field].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    return mixed
