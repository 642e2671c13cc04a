"""What is captioned and what is seen, by the hashes of keys: 13 to 20 bytes each, for very long lists."""

import threading

import numpy as np

from aurora_cli.captioning.job.key_hashes import CHECK, WORD

NOT_PATHS = ("file:", "data:")
"""What the name of a medium begins with that the output names otherwise, if at all."""

NEW, DONE, REPEATED = 0, 1, 2
"""Of a row: to be captioned; its caption is there; it is the same as an earlier row of this run."""

_DONE, _SEEN = 1, 2
_LINE_SHIFT = 2
_FIRST_SLOTS = 1 << 10
_MOST_FULL = 0.85
_HALF = np.uint64(32)
_STEP = 1 << 20


class CaptionKeys:
    """A hash table: of each key whether it is captioned, whether this run has seen it, and if wanted in which line."""

    def __init__(self, *, with_lines: bool = False) -> None:
        self._kind = np.uint32 if with_lines else np.uint8
        self._words = np.zeros(_FIRST_SLOTS, np.uint64)
        """Of hashes, as `CHECK` is; 0: the slot is empty."""
        self._checks = np.zeros(_FIRST_SLOTS, np.uint32)
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
            if size > len(self._words):
                self._resize(size)

    def add(self, hashes: np.ndarray) -> np.ndarray:
        """Note keys as captioned; (N,) whether each was so before, or is the same as an earlier one of these."""
        with self._lock:
            first, _ = _different(hashes)
            slots = self._slots(hashes[first])
            before = np.ones(len(hashes), bool)
            before[first] = self._values[slots] & self._kind(_DONE)
            self._values[slots] |= self._kind(_DONE)
            return before

    def mark(self, hashes: np.ndarray, lines: np.ndarray) -> np.ndarray:
        """Note rows as seen in their lines; (N,) what each is: NEW, DONE or REPEATED."""
        with self._lock:
            first, _ = _different(hashes)
            slots = self._slots(hashes[first])
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
            slots = self._slots(hashes[_different(hashes)[0]])
            self._values[slots] &= self._kind(_DONE)

    def lines(self, hashes: np.ndarray) -> np.ndarray:
        """(N,) the line that this run has seen each key in; -1: in none."""
        with self._lock:
            first, positions = _different(hashes)
            slots = self._slots(hashes[first])
            values = self._values[slots].astype(np.int64)[positions]
        return np.where(values & _SEEN, values >> _LINE_SHIFT, -1)

    def _slots(self, hashes: np.ndarray) -> np.ndarray:
        """(N,) the slot of each of different keys, which it gets if it has none."""
        if self._count + len(hashes) > _MOST_FULL * len(self._words):
            self._resize(int(1.5 * (self._count + len(hashes)) / _MOST_FULL))
        return self._found(np.ascontiguousarray(hashes[WORD]), np.ascontiguousarray(hashes[CHECK]))

    def _found(self, words: np.ndarray, checks: np.ndarray) -> np.ndarray:
        size = len(self._words)
        slots = ((words >> _HALF) * np.uint64(size) >> _HALF).astype(np.intp)
        left = np.arange(len(words))
        while len(left):
            at = slots[left]
            empty = self._words[at] == 0
            if empty.any():
                takes = left[empty]
                self._words[slots[takes]] = words[takes]  # of several for one slot the last stays
                self._checks[slots[takes]] = checks[takes]
            is_there = (self._words[at] == words[left]) & (self._checks[at] == checks[left])
            self._count += int(np.count_nonzero(is_there & empty))
            left = left[~is_there]
            slots[left] = (slots[left] + 1) % size
        return slots

    def _resize(self, size: int) -> None:
        used = self._words != 0
        words, checks, values = self._words[used], self._checks[used], self._values[used]
        del used
        self._words, self._checks = np.empty(0, np.uint64), np.empty(0, np.uint32)  # given back before more is taken
        self._values = np.empty(0, self._kind)
        self._words, self._checks = np.zeros(size, np.uint64), np.zeros(size, np.uint32)
        self._values, self._count = np.zeros(size, self._kind), 0
        for start in range(0, len(words), _STEP):
            part = slice(start, start + _STEP)
            self._values[self._found(words[part], checks[part])] = values[part]


def _different(hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The positions of the first of each, and (N,) for each hash which of these it equals."""
    words, checks = hashes[WORD], hashes[CHECK]
    in_order = np.sort(words)
    if (in_order[1:] != in_order[:-1]).all():
        return (each := np.arange(len(hashes))), each
    _, first, which = np.unique(words, return_index=True, return_inverse=True)
    if (checks != checks[first][which]).any():
        _, first, which = np.unique(hashes, return_index=True, return_inverse=True)
    return first, which
