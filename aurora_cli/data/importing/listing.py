"""Is a file there? For millions of names a folder is listed once, instead of asking the system for each."""

import contextlib
import os
from bisect import bisect_left
from pathlib import Path
from typing import Literal

import numpy as np

REQUESTS_BEFORE_LISTING = 16
"""Names of a folder that the system is asked for one by one; whoever wants more of them wants many."""

MOST_FOLDERS = 100_000
"""Folders that are remembered at a time."""
MOST_NAMES = 1 << 21
"""Names that are, 8 bytes each, beside those of the folder in use; a folder that had to go is not listed again."""

NEVER = -(1 << 62)
"""Requests of a folder that had to go."""

Found = Literal["file", "folder"]


class _Names:
    """The names in one folder, as sorted 64-bit hashes: 8 bytes each; by chance two of ten million never meet."""

    def __init__(self, folder: Path) -> None:
        files: list[int] = []
        folders: list[int] = []
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_file():
                    files.append(hash(entry.name))
                elif entry.is_dir():
                    folders.append(hash(entry.name))
        self._files, self._folders = _sorted(files), _sorted(folders)
        self.count = len(files) + len(folders)

    def find(self, name: str) -> Found | None:
        number, files = hash(name), self._files
        at = bisect_left(files, number)
        if at < len(files) and files[at] == number:
            return "file"
        at = bisect_left(self._folders, number)
        return "folder" if at < len(self._folders) and self._folders[at] == number else None


class Listings:
    """Looks paths up below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._root = str(root)
        self._known: dict[str, _Names] = {}
        self._requests: dict[str, int] = {}
        self._count = 0

    def find(self, path: str) -> Found | None:
        """What lies at a relative path without `..`."""
        folder, _, name = path.rpartition("/")
        if (names := self._known.get(folder)) is not None:
            return names.find(name)
        requests = self._requests[folder] = self._requests.get(folder, 0) + 1
        if len(self._requests) > MOST_FOLDERS:
            self._requests.clear()
            self._known.clear()
            self._count = 0
        if requests > REQUESTS_BEFORE_LISTING:
            names = self._list(folder)
            return names.find(name)
        return found_at(f"{self._root}/{path}")

    def _list(self, folder: str) -> _Names:
        """A folder's names, for which those of the first folders go."""
        names = _Names(self.root / folder)
        while self._known and self._count + names.count > MOST_NAMES:
            first = next(iter(self._known))
            self._count -= self._known.pop(first).count
            self._requests[first] = NEVER
        self._known[folder] = names
        self._count += names.count
        return names


def found_at(path: str) -> Found | None:
    """What the system says that lies there."""
    try:
        return "file" if os.path.isfile(path) else "folder" if os.path.isdir(path) else None  # noqa: PTH112, PTH113
    except OSError:  # a path that is too long
        return None


def _sorted(hashes: list[int]) -> memoryview:
    return np.sort(np.array(hashes, np.int64)).data
