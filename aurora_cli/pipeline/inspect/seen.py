"""Which of many texts came before, in 8 bytes a text: by 64-bit hashes, of which millions do not meet by chance."""

from bisect import bisect_left
from collections.abc import Hashable

import numpy as np

_RECENT = 1 << 16


class Seen:
    """A set of hashes, sorted in one array but for the latest."""

    def __init__(self) -> None:
        self._old = np.zeros(0, np.int64).data
        self._recent: set[int] = set()

    def __len__(self) -> int:
        return len(self._old) + len(self._recent)

    def add(self, value: Hashable) -> bool:
        """Whether `value` is new.

        >>> seen = Seen()
        >>> seen.add("a"), seen.add("b"), seen.add("a"), len(seen)
        (True, True, False, 2)
        """
        number = hash(value)
        if number in self._recent:
            return False
        place = bisect_left(self._old, number)
        if place < len(self._old) and self._old[place] == number:
            return False
        self._recent.add(number)
        if len(self._recent) >= max(_RECENT, len(self._old) // 8):
            recent = np.fromiter(self._recent, np.int64, len(self._recent))
            self._old = np.union1d(np.asarray(self._old), recent).data
            self._recent.clear()
        return True
