"""Features written by one process: segments that only grow, whole or absent to whoever reads them."""

import fcntl
import os
import secrets
import time
from contextlib import suppress
from pathlib import Path

from isal import isal_zlib

from aurora_cli.data.features.table import DATA_SUFFIX, LOG_SUFFIX, entry, seal
from aurora_cli.errors import HostError
from aurora_cli.io.lock_claim import this_boot

SEGMENT_ENTRIES = 1 << 16
"""Of a segment at most: a reader keeps the logs of all processes in memory, 2.6 MB each."""


OVER_S = 24 * 60 * 60.0
"""Nobody writes to a segment any more that was not written to for so long."""


class FeatureWriter:
    """Appends features to segments of its own, which are sealed when they are full and at the end. Makes no file before
    the first. `close` it.
    """

    def __init__(self, folder: Path, room: int) -> None:
        """`room`: bytes that it may write."""
        self.written = 0
        """Bytes, entries left out."""
        self._folder = folder
        self._room = room
        self._segment: _Segment | None = None

    def has_room(self, size: int) -> bool:
        return self.written + size <= self._room

    def append(self, key: bytes, features: memoryview) -> None:
        """Keep a medium's features.

        Raises:
            OSError: the disk is full, or will not be written to. What was written before stays.
        """
        if self._segment is not None and self._segment.entries >= SEGMENT_ENTRIES:
            self.close()
        if self._segment is None:
            self._segment = _Segment(self._folder / f"{secrets.token_hex(8)}-{_mark()}")
        self._segment.append(key, features)
        self.written += features.nbytes

    def close(self) -> None:
        """Seal the segment that is being written.

        Raises:
            OSError, HostError: its index cannot be written; its log does as well.
        """
        segment, self._segment = self._segment, None
        if segment is not None:
            segment.close()


class _Segment:
    """A segment being written. Its lock says that it is: the lock dies with the process."""

    def __init__(self, path: Path) -> None:
        self._log_path = path.with_suffix(LOG_SUFFIX)
        self._data = _open(path.with_suffix(DATA_SUFFIX))
        try:
            self._log = _open(self._log_path)
        except OSError:
            os.close(self._data)
            raise
        with suppress(OSError):  # a filesystem without locks: what is left by a killed process stays a log
            fcntl.flock(self._log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.entries = 0
        self._size = 0

    def append(self, key: bytes, features: memoryview) -> None:
        try:
            _write(self._data, features)
            _write(self._log, memoryview(entry(key, self._size, features.nbytes, isal_zlib.crc32(features))))
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._data, self._size)  # what is of no use is given back
            raise
        self.entries += 1
        self._size += features.nbytes

    def close(self) -> None:
        os.close(self._data)
        try:
            seal(self._log_path)
        finally:
            os.close(self._log)


def seal_left_over(folder: Path) -> None:
    """Seal what processes left that were killed. What cannot be is read as it is.

    What another host began may be at work there, where a shared disk keeps flock to each host: it waits for that host.
    """
    for log in folder.glob(f"*{LOG_SUFFIX}"):
        with suppress(OSError, HostError), open(log, "rb") as file:
            elsewhere = "-" in log.stem and not log.stem.endswith(_mark())
            if elsewhere and time.time() - log.stat().st_mtime < OVER_S:
                continue
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            seal(log)


def _mark() -> str:
    """Of this host, until it is started again."""
    return this_boot()[:8]


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_APPEND, 0o666)


def _write(descriptor: int, content: memoryview) -> None:
    while content.nbytes:
        content = content[os.write(descriptor, content) :]
