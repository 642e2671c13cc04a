"""Fetched files get their names, and what has a name is durable: large ones each, small ones in groups.

A file's own fsync takes some milliseconds however small it is; one sync of the filesystem serves hundreds. A small file
whose group is not full waits under its hidden name: whole, and found so by the next run if this one dies.
"""

import threading
from pathlib import Path

from aurora_cli.io.atomic import disk_errors, fsync_folder
from aurora_cli.io.durability import sync_filesystem

SMALL_BYTES = 4 << 20
_GROUP_FILES = 500
_GROUP_BYTES = 64 << 20


class GroupCommit:
    """Thread-safe. With `sync=False` files get their names at once, and durable when the system likes."""

    def __init__(self, *, sync: bool = True) -> None:
        self.sync = sync
        self._lock = threading.Lock()
        self._waiting: dict[Path, Path] = {}
        self._bytes = 0

    def now(self, partial: Path, path: Path) -> None:
        """Name a file whose content is durable."""
        partial.replace(path)
        if self.sync:
            fsync_folder(path.parent)

    def soon(self, partial: Path, path: Path, size: int) -> None:
        """Name a small file when its group is durable, at `flush` the latest."""
        if not self.sync:
            partial.replace(path)
            return
        with self._lock:
            self._waiting[partial] = path
            self._bytes += size
            is_full = len(self._waiting) >= _GROUP_FILES or self._bytes >= _GROUP_BYTES
        if is_full:
            self.flush()

    def flush(self) -> None:
        """Name every file that waits."""
        with self._lock:
            waiting, self._waiting, self._bytes = self._waiting, {}, 0
        if not waiting:
            return
        folders = {path.parent for path in waiting.values()}
        first = next(iter(folders))
        with disk_errors(first):
            sync_filesystem(first)
            for partial, path in waiting.items():
                partial.replace(path)
            for folder in folders:
                fsync_folder(folder)
