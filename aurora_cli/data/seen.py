"""Which of many texts came before, by 64-bit hashes, of which millions do not meet by chance.

Seen            all of them, 8 bytes a text
SeenOnDisk      all of them, 8 bytes a text in a file, and memory that hardly grows
DistinctSample  a share of them that is so small that it fits: numbers over any stream, exact for a short one
"""

import os
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Iterator
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

_RECENT = 1 << 16
_MOST_RECENT = 1 << 18
_PAGE = 256
"""Hashes that are read at a time to look one up."""
_BITS = 1 << 27
"""16 MiB, of which a million hashes fill one in 128, and twenty million one in 7."""
_PART = 1 << 18
"""Hashes of the file that are in memory while it is written anew."""

MOST = 1 << 21
"""Hashes that a `DistinctSample` keeps. Twice 16 MiB; numbers that are estimated stray by 0.1 % (standard error)."""


class Seen:
    """A set of hashes, sorted in one array but for the latest."""

    def __init__(self) -> None:
        self._old = np.zeros(0, np.int64).data
        self._recent: set[int] = set()

    def __len__(self) -> int:
        return len(self._old) + len(self._recent)

    def __contains__(self, value: Hashable) -> bool:
        number = hash(value)
        if number in self._recent:
            return True
        index = bisect_left(self._old, number)
        return index < len(self._old) and self._old[index] == number

    def add(self, value: Hashable) -> bool:
        """Whether `value` is new.

        >>> seen = Seen()
        >>> seen.add("a"), seen.add("b"), seen.add("a"), len(seen)
        (True, True, False, 2)
        """
        number = hash(value)
        if number in self._recent:
            return False
        old = self._old
        index = bisect_left(old, number)
        if index < len(old) and old[index] == number:
            return False
        self._recent.add(number)
        if len(self._recent) >= max(_RECENT, len(self._old) // 64):
            self._keep(self._merged())
        return True

    def thin(self, mask: int) -> None:
        """Forget every hash that has one of the bits of `mask`."""
        hashes = self._merged()
        self._keep(hashes[(hashes & mask) == 0])

    def _merged(self) -> np.ndarray:
        """All hashes, sorted. Stable sorting joins two sorted runs in one pass, and needs room for the shorter."""
        recent = np.sort(np.fromiter(self._recent, np.int64, len(self._recent)))
        hashes = np.concatenate([np.asarray(self._old), recent])
        hashes.sort(kind="stable")
        return hashes

    def _keep(self, hashes: np.ndarray) -> None:
        self._old = hashes.data
        self._recent.clear()


class SeenOnDisk:
    """A set of hashes, of which those that came long ago lie sorted in a file.

    A hash is looked up on the one page of the file where it would lie; the first hash of each page is in memory. Most
    are not looked up: a table of bits, one for the low bits of a hash, knows that they are new (Bloom 1970, one hash).
    """

    def __init__(self, folder: Path) -> None:
        """`folder`: where there is room; the file there has no name and goes with the process."""
        self._folder = folder
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115 (as long as the set)
        self._count = 0
        self._first_of_page = array("q")
        self._recent: set[int] = set()
        self._bits = bytearray(_BITS // 8)

    def __len__(self) -> int:
        return self._count + len(self._recent)

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def add(self, value: Hashable) -> bool:
        """Whether `value` is new."""
        number = hash(value)
        byte, bit = number % _BITS >> 3, 1 << (number & 7)
        if not self._bits[byte] & bit:
            self._bits[byte] |= bit
        elif number in self._recent or (self._count and self._is_in_file(number)):
            return False
        self._recent.add(number)
        if len(self._recent) >= min(max(_RECENT, self._count // 16), _MOST_RECENT):
            self._merge()
        return True

    def _is_in_file(self, number: int) -> bool:
        page = bisect_right(self._first_of_page, number) - 1
        if page < 0:
            return False
        hashes = memoryview(os.pread(self._file.fileno(), _PAGE * 8, page * _PAGE * 8)).cast("q")
        index = bisect_left(hashes, number)
        return index < len(hashes) and hashes[index] == number

    def _merge(self) -> None:
        """Write the file anew with the recent hashes among its own, a part at a time."""
        merged = TemporaryFile(dir=self._folder)  # noqa: SIM115 (becomes the file)
        first_of_page, rest = array("q"), np.zeros(0, np.int64)
        for part in self._merged_parts():
            part = np.concatenate([rest, part])
            whole = len(part) // _PAGE * _PAGE
            first_of_page.frombytes(part[:whole:_PAGE].tobytes())
            merged.write(part[:whole].data)
            rest = part[whole:]
        first_of_page.frombytes(rest[:1].tobytes())
        merged.write(rest.data)
        merged.flush()
        self._count += len(self._recent)
        self._recent.clear()
        self._file.close()
        self._file, self._first_of_page = merged, first_of_page

    def _merged_parts(self) -> Iterator[np.ndarray]:
        recent = np.sort(np.fromiter(self._recent, np.int64, len(self._recent)))
        begin = 0
        self._file.seek(0)
        while len(old := np.frombuffer(self._file.read(_PART * 8), np.int64)):
            end = int(np.searchsorted(recent, old[-1]))
            part = np.concatenate([old, recent[begin:end]])
            part.sort(kind="stable")
            yield part
            begin = end
        yield recent[begin:]


class DistinctSample:
    """Different texts of a stream in two classes, in bounded memory (distinct sampling: Gibbons, VLDB 2001).

    It keeps the hashes that end in so many zero bits, at first none, that they are `most` at most: a share of the
    different texts that is the same however often each comes. What is counted of them times `scale` is what there is.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._classes = (Seen(), Seen())
        self.scale = 1
        """Different texts that each one kept stands for; a power of two, 1: all are kept and numbers are exact."""

    def wants(self, text: str) -> bool:
        """Whether the text belongs to the sample and is not in it yet: then `add` it."""
        return not hash(text) & (self.scale - 1) and not any(text in seen for seen in self._classes)

    def add(self, text: str, is_in_class: bool) -> None:
        """Take a text in that is wanted; the others are not to be added."""
        self._classes[is_in_class].add(text)
        while self._kept > self._most:
            self.scale *= 2
            for seen in self._classes:
                seen.thin(self.scale - 1)

    @property
    def _kept(self) -> int:
        return sum(map(len, self._classes))

    @property
    def is_estimate(self) -> bool:
        return self.scale > 1

    @property
    def texts(self) -> int:
        """Different texts so far."""
        return self._kept * self.scale

    @property
    def in_class(self) -> int:
        """Those that were added as in the class."""
        return len(self._classes[True]) * self.scale
