"""Which side of the validation split a record lies on: by hashes of its media, never of a caption.

The media (or groups) with the smallest hashes are kept for validation, as many as the share says: so all captions of an
image, all parts of a video, and all rows of a group lie on one side, and the count is exact. The hashes lie in a file,
8 bytes a record, and are looked at a part at a time.
"""

from array import array
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np

from aurora_cli.data.annotations.records import Rejection

PART = 1 << 18
"""Hashes of the file that are in memory at a time, and of those that are sorted together about."""


def hash_of(name: str) -> int:
    """64 bits, the same everywhere."""
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest())


class Sides:
    """The sides of records, known when all have been added."""

    def __init__(self, share: float, folder: Path | None = None) -> None:
        """`folder`: where there is room for a file, which has no name there."""
        self._share = share
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115 (as long as the sides)
        self._latest = array("Q")
        self._count = 0
        """Of the hashes in the file: of each record's medium or group; of one with several media, or none, 0."""
        self._several: dict[int, list[int]] = {}
        self._bound: int | None = None
        self._part = np.zeros(0, np.uint64)
        self._part_begins = 0

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def add(self, media: Sequence[str], group: str | None) -> None:
        """Add the next record."""
        names = media if group is None else (group,)
        if len(names) != 1:
            self._several[self._count + len(self._latest)] = [*map(hash_of, names)]
        self._latest.append(hash_of(names[0]) if len(names) == 1 else 0)
        if len(self._latest) == PART:
            self._write()

    def is_for_validation(self, number: int) -> bool:
        """Whether a record (from 0) is kept for validation. Quick where records are asked for in their order.

        Raises:
            Rejection: one of its media is, and another is not.
        """
        if self._bound is None:
            self._write()
            self._bound = self._find_bound()
        if number not in self._several:
            if not 0 <= number - self._part_begins < len(self._part):
                self._part, self._part_begins = self._read(number), number
            return int(self._part[number - self._part_begins]) <= self._bound
        sides = {one <= self._bound for one in self._several[number]}
        if len(sides) > 1:
            raise Rejection("split_between", f"{len(self._several[number])} images")
        return sides.pop() if sides else False

    def _find_bound(self) -> int:
        """The largest hash that is kept; -1: none is."""
        count = 1 + self._count // PART
        ranges = [*pairwise((number << 64) // count for number in range(count + 1))]
        counts = [len(self._between(*one)) for one in ranges]
        if not sum(counts):
            return -1
        wanted = max(1, round(self._share * sum(counts)))
        for one, count in zip(ranges, counts, strict=True):
            if wanted <= count:
                return int(self._between(*one)[wanted - 1])
            wanted -= count
        raise AssertionError("fewer hashes than were counted")

    def _between(self, low: int, high: int) -> np.ndarray:
        """The different hashes from `low` to below `high`, sorted."""
        found = [part[(part >= low) & (part <= high - 1)] for part in self._parts()]
        return np.unique(np.concatenate(found))

    def _parts(self) -> Iterator[np.ndarray]:
        """The hashes of all records, those of several media at the end."""
        several = np.array([*self._several], np.int64)
        for begin in range(0, self._count, PART):
            part = self._read(begin)
            within = several[(several >= begin) & (several < begin + len(part))] - begin
            yield np.delete(part, within)
        yield np.array([one for some in self._several.values() for one in some], np.uint64)

    def _read(self, begin: int) -> np.ndarray:
        self._file.seek(begin * 8)
        return np.frombuffer(self._file.read(PART * 8), np.uint64)

    def _write(self) -> None:
        self._file.seek(self._count * 8)
        self._file.write(self._latest.tobytes())
        self._count += len(self._latest)
        del self._latest[:]
