"""Files that a command writes here and keeps in a bucket: brought at its start, put at its end, each whole or absent.

The folder here outlives the command: what a killed one had made is there, and the next one goes on with it.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

from aurora_cli.errors import UsageError
from aurora_cli.io.json_files import StoredModel
from aurora_cli.io.urls import name_of
from aurora_cli.storage.copies import fetch
from aurora_cli.storage.errors import shown
from aurora_cli.storage.objects import ObjectStat, put, stat

RECORD = ".in-bucket.json"


class Kept(NamedTuple):
    """A file as it was when it and its object were the same."""

    size: int
    modified_ns: int
    object_size: int
    version: str


class KeptFiles(StoredModel):
    """Which files of a spool are in the bucket."""

    WHAT: ClassVar[str] = "a record of what is in a bucket"
    HINT: ClassVar[str | None] = "Remove it: everything is put into the bucket again."

    files: dict[str, Kept]


class Spool:
    """A folder of this machine for the files of one URL."""

    def __init__(self, url: str, workspace: Path, url_of: Callable[[str], str]) -> None:
        """`url_of`: the URL of a file, by its name in the folder."""
        self.folder = workspace / ".uploads" / hashlib.sha256(shown(url).encode()).hexdigest()[:16]
        self.file = self.folder / name_of(url)
        self._url_of = url_of
        self._record = KeptFiles.read_if_there(self.folder / RECORD) or KeptFiles(files={})

    def bring(self, names: Mapping[str, ObjectStat]) -> None:
        """Have these objects as files; what is here and newer stays.

        Raises:
            UsageError: both a file and its object were changed since they were the same.
            HostError: the store cannot be reached, or the disk is full.
        """
        for name, known in names.items():
            path, kept = self.folder / name, self._record.files.get(name)
            if kept is not None and path.is_file() and (kept.object_size, kept.version) == tuple(known):
                continue
            if path.is_file() and self._is_changed(name) and path.stat().st_size:
                url = shown(self._url_of(name))
                raise UsageError(
                    f"{url}: was written by somebody else, and {path} has what is not in it",
                    hint=f"Name another --output, or remove {path} (or the object) to go on with the other.",
                )
            fetch(self._url_of(name), known, path)
            self._note(name, known)

    def put(self, names: Iterable[str]) -> None:
        """Put those of these files that are here, and changed, into the bucket, in this order.

        Raises:
            HostError: the store cannot be reached, or does not take one.
        """
        for name in names:
            if (self.folder / name).is_file() and self._is_changed(name):
                put(self.folder / name, self._url_of(name))
                self._note(name, stat(self._url_of(name)))

    def _is_changed(self, name: str) -> bool:
        found, kept = (self.folder / name).stat(), self._record.files.get(name)
        return kept is None or (kept.size, kept.modified_ns) != (found.st_size, found.st_mtime_ns)

    def _note(self, name: str, known: ObjectStat) -> None:
        found = (self.folder / name).stat()
        self._record.files[name] = Kept(found.st_size, found.st_mtime_ns, known.size, known.version)
        self._record.write(self.folder / RECORD)
