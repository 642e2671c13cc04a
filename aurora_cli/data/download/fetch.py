"""A file from a source to its path: resumed, tried again, checked, and only then given its name."""

import threading
from pathlib import Path

from aurora_cli.console import Advance
from aurora_cli.data.download.commit import SMALL_BYTES, GroupCommit
from aurora_cli.data.download.hashing import RunningHashes
from aurora_cli.data.download.manifest import RemoteFile
from aurora_cli.data.download.partial_file import PartialFile
from aurora_cli.data.download.source import Source, WrongBytes
from aurora_cli.errors import HostError, Interrupted
from aurora_cli.hub.errors import TransientError
from aurora_cli.hub.patience import Patience
from aurora_cli.io.atomic import disk_errors

_READ_BYTES = 1 << 20
_WRONG_TIMES = 2
"""A file whose bytes are wrong so often, each time from its start, is wrong at the source."""


class Fetcher:
    """Fetches files of one source with the same patience; `stop` ends it at the next chunk."""

    def __init__(
        self, source: Source, group_commit: GroupCommit, *, retries: int, retry_wait_s: float, stop: threading.Event
    ) -> None:
        self.source, self.group_commit = source, group_commit
        self.patience, self.stop = Patience(retries, retry_wait_s), stop

    def fetch(self, file: RemoteFile, path: Path, advance: Advance, *, at_once: bool = False) -> str:
        """Bring `file` to `path`; a small one may get its name only when its group is flushed, unless `at_once`.

        Returns:
            sha256 of what is there now

        Raises:
            HostError: it did not come, or not as the source says it is
        """
        is_small = file.size < SMALL_BYTES and not at_once
        with disk_errors(path), PartialFile(path, file, sync=self.group_commit.sync and not is_small) as partial:
            partial.take_up(lambda amount: self._went_on(amount, advance))
            self._fill(file, partial, advance)
            if is_small:
                self.group_commit.soon(partial.path, path, file.size)
            else:
                if self.group_commit.sync:
                    partial.make_durable()
                self.group_commit.now(partial.path, path)
            return partial.sha256()

    def _fill(self, file: RemoteFile, partial: PartialFile, advance: Advance) -> None:
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
                if tries > self.patience.retries:
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

    def _wait(self, requested_s: float | None, tries: int) -> None:
        if self.stop.wait(self.patience.wait_before(tries, requested_s)):
            raise Interrupted("stopped; what has come stays")


def is_like(path: Path, file: RemoteFile, advance: Advance = lambda amount: None) -> bool:
    """Whether the file at `path` has the size and the hash that `file` lists."""
    if path.stat().st_size != file.size:
        return False
    if file.sha256 is None and file.git_sha1 is None:
        return True
    hashes = RunningHashes(git_size=file.size if file.sha256 is None else None)
    with open(path, "rb") as content:
        while block := content.read(_READ_BYTES):
            hashes.update(block)
            advance(len(block))
    return hashes.sha256() == file.sha256 if file.sha256 is not None else hashes.git_sha1() == file.git_sha1
