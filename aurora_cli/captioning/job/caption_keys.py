"""What is captioned and what is seen, by the hashes of keys: 11 to 15 bytes each, for very long lists.

A key is a medium, a row's id, its span and its question. Two of ten million have the same hash of 64 bits with a
probability of 3 in a million; the second of them would be taken for the first.
"""

import threading
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np

from aurora_cli.captioning.result import Part

CaptionKey: TypeAlias = tuple[str, str | int | None, Part | None, str | None]
"""What is captioned: the medium, the row's id, span and prompt."""

NOT_PATHS = ("file:", "data:")
"""What the name of a medium begins with that the output names otherwise, if at all."""

NEW, DONE, REPEATED = 0, 1, 2
"""Of a row: to be captioned; its caption is there; it is the same as an earlier row of this run."""

_DONE, _SEEN = 1, 2
_LINE_SHIFT = 2
_FIRST_SLOTS = 1 << 10
_MOST_FULL = 0.8
_MIX = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
_STEP = 1 << 20


def hashes_of(keys: Iterable[CaptionKey]) -> np.ndarray:
    """(N,) uint64, none of them 0. They hold within this process."""
    hashes = np.fromiter(map(hash, keys), dtype=np.int64).view(np.uint64)
    hashes[hashes == 0] = 1
    return hashes


def hash_of(key: CaptionKey) -> int:
    """That of one key."""
    return int(hashes_of([key])[0])


class CaptionKeys:
    """A hash table: of each key whether it is captioned, whether this run has seen it, and if wanted in which line."""

    def __init__(self, *, with_lines: bool = False) -> None:
        self._kind = np.uint32 if with_lines else np.uint8
        self._hashes = np.zeros(_FIRST_SLOTS, np.uint64)
        self._values = np.zeros(_FIRST_SLOTS, self._kind)
        self._count = 0
        self._lock = threading.Lock()
        """One thread marks rows while another adds their captions."""

    def __len__(self) -> int:
        """Keys that are captioned."""
        return int(np.count_nonzero(self._values & self._kind(_DONE)))

    def reserve(self, keys: int) -> None:
        """Take the memory for so many keys at once, so that they are not moved while they come."""
        size = int(keys / _MOST_FULL) + _FIRST_SLOTS
        with self._lock:
            if size > len(self._hashes):
                self._resize(size)

    def add(self, hashes: np.ndarray) -> np.ndarray:
        """Note keys as captioned; (N,) whether each was so before, or is the same as an earlier one of these."""
        with self._lock:
            once, first = np.unique(hashes, return_index=True)
            slots = self._slots(once)
            before = np.ones(len(hashes), bool)
            before[first] = self._values[slots] & self._kind(_DONE)
            self._values[slots] |= self._kind(_DONE)
            return before

    def mark(self, hashes: np.ndarray, lines: np.ndarray) -> np.ndarray:
        """Note rows as seen in their lines; (N,) what each is: NEW, DONE or REPEATED."""
        with self._lock:
            once, first = np.unique(hashes, return_index=True)
            slots = self._slots(once)
            values = self._values[slots].astype(np.int64)
            is_new = values & _SEEN == 0
            marked = values[is_new] & _DONE | _SEEN
            if self._kind is np.uint32:
                marked |= lines[first[is_new]].astype(np.int64) << _LINE_SHIFT
            self._values[slots[is_new]] = marked.astype(self._kind)
            states = np.full(len(hashes), REPEATED)
            states[first[is_new]] = values[is_new] & _DONE
            return states

    def forget(self, hashes: np.ndarray) -> None:
        """Rows that were seen turned out to be none: later ones that are the same are seen for the first time."""
        with self._lock:
            slots = self._slots(np.unique(hashes))
            self._values[slots] &= self._kind(_DONE)

    def lines(self, hashes: np.ndarray) -> np.ndarray:
        """(N,) the line that this run has seen each key in; -1: in none."""
        with self._lock:
            once, positions = np.unique(hashes, return_inverse=True)
            slots = self._slots(once)
            values = self._values[slots].astype(np.int64)[positions]
        return np.where(values & _SEEN, values >> _LINE_SHIFT, -1)

    def _slots(self, hashes: np.ndarray) -> np.ndarray:
        """(N,) the slot of each of different keys, which it gets if it has none."""
        if self._count + len(hashes) > _MOST_FULL * len(self._hashes):
            self._resize(int(1.5 * (self._count + len(hashes)) / _MOST_FULL))
        return self._found(hashes)

    def _found(self, hashes: np.ndarray) -> np.ndarray:
        size = len(self._hashes)
        slots = (((hashes * _MIX) >> _HALF) * np.uint64(size) >> _HALF).astype(np.intp)
        left = np.arange(len(hashes))
        while len(left):
            at = slots[left]
            empty = self._hashes[at] == 0
            self._hashes[at[empty]] = hashes[left[empty]]  # of several for one slot the last stays
            is_there = self._hashes[at] == hashes[left]
            self._count += int(np.count_nonzero(is_there & empty))
            left = left[~is_there]
            slots[left] = (slots[left] + 1) % size
        return slots

    def _resize(self, size: int) -> None:
        used = self._hashes != 0
        hashes, values = self._hashes[used], self._values[used]
        del used
        self._hashes, self._values = np.empty(0, np.uint64), np.empty(0, self._kind)  # given back before more is taken
        self._hashes, self._values, self._count = np.zeros(size, np.uint64), np.zeros(size, self._kind), 0
        for start in range(0, len(hashes), _STEP):
            slots = self._found(hashes[start : start + _STEP])
            self._values[slots] = values[start : start + _STEP]
