"""Kept features by the key of their medium, whichever process wrote them and whether it still does."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from isal import isal_zlib

from aurora_cli.data.features.space import FeatureForm
from aurora_cli.data.features.table import (
    DATA_SUFFIX,
    INDEX_SUFFIX,
    KEY,
    LOG_SUFFIX,
    Extent,
    Table,
    merged,
    open_index,
    read_log,
    table_of,
)


@dataclass
class _Log:
    """The log of a segment that is being written, as far as it was read."""

    entries: int = 0
    tables: list[Table] = field(default_factory=list)
    """Each at least twice as long as the next: what comes later is merged in as rarely as can be."""

    def add(self, table: Table) -> None:
        self.entries += len(table.high)
        while self.tables and len(self.tables[-1].high) < 2 * len(table.high):
            table = merged(self.tables.pop(), table)
        self.tables.append(table)


@dataclass
class FeatureCache:
    """Reads features. Opens nothing before the first look, so it can be sent to a worker."""

    folder: Path
    form: FeatureForm
    _tables: dict[str, Table] = field(default_factory=dict, repr=False)
    """Of sealed segments, by name."""
    _logs: dict[str, _Log] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_tables": {}, "_logs": {}}

    def features(self, keys: Sequence[bytes]) -> list[np.ndarray | None]:
        """The bytes (uint8) of each medium's features; none: they are not there, or damaged."""
        found: list[np.ndarray | None] = [None] * len(keys)
        self._look_up(keys, found)
        if any(one is None for one in found):
            self._refresh()
            self._look_up(keys, found)
        return found

    def _look_up(self, keys: Sequence[bytes], found: list[np.ndarray | None]) -> None:
        """Fill in what is not found yet."""
        for table in (*self._tables.values(), *(table for log in self._logs.values() for table in log.tables)):
            open_ones = [number for number, one in enumerate(found) if one is None]
            if not open_ones:
                return
            wanted = np.frombuffer(b"".join(keys[number] for number in open_ones), KEY)
            for number, extent in zip(open_ones, table.find(wanted), strict=True):
                if extent is not None:
                    found[number] = _read(extent)

    def _refresh(self) -> None:
        """Look for segments and entries that came since the last time."""
        try:
            names = set(os.listdir(self.folder))  # noqa: PTH208 - names are enough
        except OSError:
            names = set[str]()
        for name in sorted(names):
            path = self.folder / name
            if path.suffix == INDEX_SUFFIX and path.stem not in self._tables:
                self._open(path)
            elif path.suffix == LOG_SUFFIX and f"{path.stem}{INDEX_SUFFIX}" not in names:
                self._read_on(path)

    def _open(self, index: Path) -> None:
        try:
            self._tables[index.stem] = open_index(index)
        except (OSError, ValueError):  # removed meanwhile, or damaged: its features are made anew
            return
        self._logs.pop(index.stem, None)

    def _read_on(self, path: Path) -> None:
        log = self._logs.get(path.stem) or _Log()
        try:
            more = read_log(path, log.entries)
        except OSError:  # sealed meanwhile
            return
        if len(more):
            log.add(table_of(path.with_suffix(DATA_SUFFIX), more))
            self._logs[path.stem] = log


def _read(extent: Extent) -> np.ndarray | None:
    """The bytes there; none if they are not what was written."""
    content = np.empty(extent.size, np.uint8)
    try:
        with open(extent.file, "rb", buffering=0) as file:
            file.seek(extent.offset)
            length, rest = 0, memoryview(content)  # pyrefly: ignore[bad-argument-type] - an array is a buffer
            while rest.nbytes and (more := file.readinto(rest)):
                length += more
                rest = rest[more:]
    except OSError:
        return None
    sound = length == extent.size and isal_zlib.crc32(content) == extent.crc32
    return content if sound else None
