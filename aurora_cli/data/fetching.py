"""A file from a source to its place: resumed, tried again, checked, and only then given its name."""

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from aurora_cli.console import Advance
from aurora_cli.data.manifest import RemoteFile
from aurora_cli.errors import HostError, Interrupted
from aurora_cli.files import PARTIAL_SUFFIX, disk_errors, fsync_folder

LONGEST_WAIT_S = 60.0
_READ_BYTES = 1 << 20
_WRONG_TIMES = 2
"""A file whose bytes are wrong so often, each time from its start, is wrong at the source."""


class TransientError(Exception):
    """The source failed in a way that passes; `retry_after_s` is what it asked to wait."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


class WrongBytes(HostError):
    """The source keeps sending other bytes than it lists."""


class Source(Protocol):
    """Where a data set comes from."""

    name: str
    """As the user wrote it."""
    commit: str
    """The exact state that is fetched; empty if the source has none."""

    def files(self) -> list[RemoteFile]:
        """Every file of the data set."""
        ...

    def equality(self, file: RemoteFile) -> str | None:
        """A key that files of equal content share; none: compare nothing with this one."""
        ...

    def sha256(self, file: RemoteFile) -> str | None:
        """The hash of the file at the source, if it can be had without fetching it."""
        ...

    def read(self, file: RemoteFile, into: "PartialFile", advance: Advance) -> None:
        """Append what is missing, or part of it.

        Raises:
            TransientError: worth another try
            HostError: not worth one
        """
        ...


class Fetcher:
    """Fetches files of one source with the same patience; `stop` ends it at the next chunk."""

    def __init__(self, source: Source, *, retries: int, retry_wait_s: float, stop: threading.Event) -> None:
        self.source, self.retries, self.retry_wait_s, self.stop = source, retries, retry_wait_s, stop

    def fetch(self, file: RemoteFile, place: Path, advance: Advance) -> str:
        """Bring `file` to `place`.

        Returns:
            sha256 of what is there now

        Raises:
            HostError: it did not come, or not as the source says it is
        """
        with disk_errors(place), PartialFile(place, file) as partial:
            advance(partial.position)
            self._fill(file, partial, advance)
            return partial.finish()

    def _fill(self, file: RemoteFile, partial: "PartialFile", advance: Advance) -> None:
        tries, wrong, resumed = 0, 0, partial.position > 0
        while True:
            before = partial.position
            try:
                self.source.read(file, partial, lambda amount: self._went_on(amount, advance))
                if partial.is_right():
                    return
                if partial.position < file.size:
                    raise TransientError(f"{partial.position:,} of {file.size:,} bytes came")
            except TransientError as error:
                tries = 1 if partial.position > before else tries + 1
                if tries > self.retries:
                    raise HostError(
                        f"{file.path}: did not come from {self.source.name} after {tries} tries: {error}",
                        hint="Run the same command again later: it continues.",
                    ) from error
                self._wait(error.retry_after_s, tries)
                continue
            wrong += 0 if resumed else 1
            resumed, difference = False, partial.difference()
            advance(-partial.position)
            partial.restart()
            if wrong == _WRONG_TIMES:
                raise WrongBytes(
                    f"{file.path}: {self.source.name} sent other bytes than it lists ({difference})",
                    hint="If the data set has just been changed there, run the same command again.",
                )

    def _went_on(self, amount: int, advance: Advance) -> None:
        if self.stop.is_set():
            raise Interrupted("stopped; what has come stays")
        advance(amount)

    def _wait(self, asked_s: float | None, tries: int) -> None:
        wait_s = min(self.retry_wait_s * 2 ** (tries - 1), LONGEST_WAIT_S) if asked_s is None else asked_s
        if self.stop.wait(wait_s):
            raise Interrupted("stopped; what has come stays")


class PartialFile:
    """A file that is still coming, beside its place, with the hash of what is there."""

    def __init__(self, place: Path, file: RemoteFile) -> None:
        self.place, self.file = place, file
        mark = (file.sha256 or file.git_sha1 or "")[:12]
        self.path = place.with_name(
            f".{place.name}.{mark}{PARTIAL_SUFFIX}" if mark else f".{place.name}{PARTIAL_SUFFIX}"
        )
        self.position = 0

    def __enter__(self) -> "PartialFile":
        self.place.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self.path, "r+b" if self.path.exists() else "w+b", buffering=0)
        if os.fstat(self._file.fileno()).st_size > self.file.size:
            self._file.truncate(0)
        self._begin()
        while content := self._file.read(_READ_BYTES):
            self._count(content)
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self.path.exists() and self.path.stat().st_size == 0:
            self.path.unlink()

    def _begin(self) -> None:
        self.position = 0
        self._sha256 = hashlib.sha256()
        self._git_sha1 = hashlib.sha1(b"blob %d\0" % self.file.size, usedforsecurity=False)

    def _count(self, content: bytes) -> None:
        self._sha256.update(content)
        if self.file.git_sha1 is not None:
            self._git_sha1.update(content)
        self.position += len(content)

    def write(self, content: bytes) -> None:
        left = memoryview(content)
        while left:
            left = left[self._file.write(left) :]
        self._count(content)

    def begins_like(self, other: Path) -> bool:
        """Whether what has come is how `other` begins."""
        self._file.seek(0)
        with open(other, "rb") as file:
            while mine := self._file.read(_READ_BYTES):
                if mine != file.read(len(mine)):
                    return False
        return True

    def restart(self) -> None:
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
        if file.sha256 is not None and self._sha256.hexdigest() != file.sha256:
            return f"sha256 {self._sha256.hexdigest()} instead of {file.sha256}"
        if file.git_sha1 is not None and self._git_sha1.hexdigest() != file.git_sha1:
            return f"git hash {self._git_sha1.hexdigest()} instead of {file.git_sha1}"
        return None

    def finish(self) -> str:
        """Give the file its name, durably; returns its sha256."""
        os.fsync(self._file.fileno())
        self.path.replace(self.place)
        fsync_folder(self.place.parent)
        for stale in _partials(self.place):
            stale.unlink()
        return self._sha256.hexdigest()


def _partials(place: Path) -> list[Path]:
    with contextlib.suppress(FileNotFoundError):
        names = (path for path in place.parent.iterdir() if path.name.startswith(f".{place.name}."))
        return [path for path in names if path.name.endswith(PARTIAL_SUFFIX)]
    return []


def partial_bytes(place: Path) -> int:
    """Bytes of a file that have come in earlier runs."""
    return max((path.stat().st_size for path in _partials(place)), default=0)


def is_like(place: Path, file: RemoteFile) -> bool:
    """Whether the file at `place` has the size and the hash that `file` lists."""
    if place.stat().st_size != file.size:
        return False
    if file.sha256 is not None:
        return _digest(hashlib.sha256(), place) == file.sha256
    if file.git_sha1 is not None:
        return _digest(hashlib.sha1(b"blob %d\0" % file.size, usedforsecurity=False), place) == file.git_sha1
    return True


def _digest(digest: "hashlib._Hash", place: Path) -> str:
    for content in _blocks(place):
        digest.update(content)
    return digest.hexdigest()


def _blocks(place: Path) -> Iterator[bytes]:
    with open(place, "rb") as file:
        while content := file.read(_READ_BYTES):
            yield content
