"""Work on a file that is still being written, beside the writing: its hashes, and its way to the disk.

A download is bound by one core that receives and writes. Hashing (1.6 GB/s) and waiting for the disk release the
interpreter, so they run in threads; small files, for which a thread costs more than it saves, are hashed at once.
"""

import hashlib
import os
import queue
import threading
from collections.abc import Sequence
from typing import Protocol

_ALONE_BYTES = 4 << 20
"""From here on a file gets threads of its own."""
_BATCH_BYTES = 1 << 20
_BATCHES_WAITING = 8
"""Batches of one file that may wait for being hashed: 8 MiB of memory at most."""
_SYNC_BYTES = 32 << 20
"""Written between two calls that bring it to the disk."""


class Hash(Protocol):
    def update(self, content: bytes, /) -> None: ...

    def hexdigest(self) -> str: ...


class RunningHashes:
    """sha256 of the bytes that come, and with `git_size` (of all of them) also git's sha1 of the file."""

    def __init__(self, git_size: int | None = None) -> None:
        self._sha256: Hash = hashlib.sha256()
        self._git_sha1: Hash | None = None
        if git_size is not None:
            self._git_sha1 = hashlib.sha1(b"blob %d\0" % git_size, usedforsecurity=False)
        self._seen = 0
        self._batch: list[bytes] = []
        self._batch_bytes = 0
        self._waiting: queue.Queue[Sequence[bytes] | None] = queue.Queue(_BATCHES_WAITING)
        self._thread: threading.Thread | None = None

    def update(self, content: bytes) -> None:
        self._seen += len(content)
        if self._seen < _ALONE_BYTES:
            self._hash((content,))
            return
        self._batch.append(content)
        self._batch_bytes += len(content)
        if self._batch_bytes >= _BATCH_BYTES:
            self._hand_over()

    def sha256(self) -> str:
        self.settle()
        return self._sha256.hexdigest()

    def git_sha1(self) -> str | None:
        self.settle()
        return None if self._git_sha1 is None else self._git_sha1.hexdigest()

    def settle(self) -> None:
        """Wait until everything is hashed, and end the thread; more may come afterwards."""
        if self._batch:
            self._hand_over()
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None

    def _hand_over(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="hashing", daemon=True)
            self._thread.start()
        self._waiting.put(self._batch)
        self._batch, self._batch_bytes = [], 0

    def _work(self) -> None:
        while (contents := self._waiting.get()) is not None:
            self._hash(contents)

    def _hash(self, contents: Sequence[bytes]) -> None:
        for content in contents:
            self._sha256.update(content)
            if self._git_sha1 is not None:
                self._git_sha1.update(content)


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
