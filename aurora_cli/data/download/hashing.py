"""Work on a file that is still being written, beside the writing: its hashes, and its way to the disk.

A download is bound by one core that receives and writes. Hashing (1.6 GB/s) and waiting for the disk release the
interpreter, so they run in threads; small files, for which a thread costs more than it saves, are hashed at once.
"""

import hashlib
import queue
import threading
from collections.abc import Sequence
from typing import Protocol

_ALONE_BYTES = 4 << 20
"""From here on a file gets threads of its own."""
_BATCH_BYTES = 1 << 20
_BATCHES_WAITING = 8
"""Batches of one file that may wait for being hashed: 8 MiB of memory at most."""


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
        self.drain()
        return self._sha256.hexdigest()

    def git_sha1(self) -> str | None:
        self.drain()
        return None if self._git_sha1 is None else self._git_sha1.hexdigest()

    def drain(self) -> None:
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
