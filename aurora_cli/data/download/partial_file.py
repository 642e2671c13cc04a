"""A file that is still coming, beside its final name, and hashed as it comes."""

import contextlib
import os
import re
import threading
from collections.abc import Iterable
from pathlib import Path

from aurora_cli.console import Advance
from aurora_cli.data.download.hashing import RunningHashes
from aurora_cli.data.download.manifest import RemoteFile
from aurora_cli.io.atomic import PARTIAL_SUFFIX

_READ_BYTES = 1 << 20
_PARTIAL_NAME = re.compile(rf"\.(?P<name>.+?)(?P<mark>\.[0-9a-f]{{12}})?{re.escape(PARTIAL_SUFFIX)}", re.DOTALL)


class PartialFile:
    """The bytes of `file` that have come, in a hidden neighbour of `target`.

    The neighbour's name has the listed hash in it: when the file changes at its source, its beginning is not taken
    for that of the new one.
    """

    def __init__(self, target: Path, file: RemoteFile, *, sync: bool = True) -> None:
        self.target, self.file, self._is_synced = target, file, sync
        mark = (file.sha256 or file.git_sha1 or "")[:12]
        self.path = target.with_name(
            f".{target.name}.{mark}{PARTIAL_SUFFIX}" if mark else f".{target.name}{PARTIAL_SUFFIX}"
        )
        self.position = 0

    def __enter__(self) -> "PartialFile":
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self.path, "r+b" if self.path.exists() else "w+b", buffering=0)
        self._disk = DiskWriter(self._file.fileno())
        if os.fstat(self._file.fileno()).st_size > self.file.size:
            self._file.truncate(0)
        self._begin()
        return self

    def __exit__(self, *_: object) -> None:
        self._hashes.drain()
        self._disk.close()
        self._file.close()
        if self.path.exists() and self.path.stat().st_size == 0:
            self.path.unlink()

    def _begin(self) -> None:
        self.position = 0
        self._hashes = RunningHashes(git_size=self.file.size if self.file.git_sha1 is not None else None)

    def take_up(self, advance: Advance) -> None:
        """Go to the end of what earlier runs brought, hashing it."""
        while content := self._file.read(_READ_BYTES):
            self._count(content)
            advance(len(content))

    def _count(self, content: bytes) -> None:
        self._hashes.update(content)
        self.position += len(content)

    def write(self, content: bytes) -> None:
        left = memoryview(content)
        while left:
            left = left[self._file.write(left) :]
        if self._is_synced:
            self._disk.wrote(len(content))
        self._count(content)

    def begins_like(self, other: Path) -> bool:
        """Whether what has come is how `other` begins."""
        self._file.seek(0)
        with open(other, "rb") as file:
            while local := self._file.read(_READ_BYTES):
                if local != file.read(len(local)):
                    return False
        return True

    def restart(self) -> None:
        self._hashes.drain()
        self._file.seek(0)
        self._file.truncate()
        self._begin()

    def is_right(self) -> bool:
        return self.difference() is None

    def difference(self) -> str | None:
        """What distinguishes the bytes here from those listed."""
        file = self.file
        if self.position != file.size:
            return f"{self.position:,} bytes instead of {file.size:,}"
        if file.sha256 is not None and self._hashes.sha256() != file.sha256:
            return f"sha256 {self._hashes.sha256()} instead of {file.sha256}"
        if file.git_sha1 is not None and self._hashes.git_sha1() != file.git_sha1:
            return f"git hash {self._hashes.git_sha1()} instead of {file.git_sha1}"
        return None

    def sha256(self) -> str:
        return self._hashes.sha256()

    def make_durable(self) -> None:
        self._disk.finish()


def partial_bytes(target: Path, file: RemoteFile) -> int:
    """Bytes of a file that have come in earlier runs."""
    try:
        return PartialFile(target, file).path.stat().st_size
    except OSError:
        return 0


def remove_stale(data: Path, files: Iterable[RemoteFile]) -> None:
    """Remove what has come of files that have since changed at their source."""
    expected: dict[Path, dict[str, str]] = {}
    for file in files:
        target = data / file.path
        expected.setdefault(target.parent, {})[target.name] = PartialFile(target, file).path.name
    for folder, names in expected.items():
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for path in list(folder.iterdir()):
                if (match := _PARTIAL_NAME.fullmatch(path.name)) is None:
                    continue
                name = match["name"] if match["name"] in names else match["name"] + (match["mark"] or "")
                if names.get(name, path.name) != path.name:
                    path.unlink()


_SYNC_BYTES = 32 << 20
"""Written between two calls that bring it to the disk."""


class DiskWriter:
    """Brings what is written to `descriptor` to the disk while more comes, so that the last sync finds little to do."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._unsynced = 0
        self._wake = threading.Event()
        self._is_over = False
        self._thread: threading.Thread | None = None
        self._failure: OSError | None = None

    def wrote(self, size: int) -> None:
        """Note that `size` more bytes are written.

        Raises:
            OSError: what was written earlier could not be brought to the disk
        """
        self._unsynced += size
        if self._unsynced < _SYNC_BYTES:
            return
        self._unsynced = 0
        self._check()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="syncing", daemon=True)
            self._thread.start()
        self._wake.set()

    def finish(self) -> None:
        """Return when everything is on the disk.

        Raises:
            OSError: it could not be brought there
        """
        self.close()
        self._check()
        os.fsync(self._descriptor)

    def close(self) -> None:
        """End the thread, which must not outlive the descriptor."""
        if self._thread is not None:
            self._is_over = True
            self._wake.set()
            self._thread.join()
            self._thread, self._is_over = None, False

    def _check(self) -> None:
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _work(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            if self._is_over:
                return
            try:
                os.fdatasync(self._descriptor)
            except OSError as error:
                self._failure = error
