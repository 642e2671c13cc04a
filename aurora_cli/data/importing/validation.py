"""Which side of the validation split a record lies on: by hashes of its media, never of a caption.

The media (or groups) with the smallest hashes are kept for validation, as many as the share says: so all captions of an
image, all parts of a video, and all rows of a group lie on one side, and the count is exact. Memory: 8 bytes a record.
"""

from array import array
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from aurora_cli.data.annotations.records import Rejection


def hash_of(name: str) -> int:
    """64 bits, the same everywhere."""
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest())


class Sides:
    """The sides of records, known when all have been added."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._hashes = array("Q")
        """Of each record's medium or group; of one with several media, or none, 0."""
        self._several: dict[int, list[int]] = {}
        self._bound: int | None = None

    def add(self, media: Sequence[str], group: str | None) -> None:
        """Add the next record."""
        names = media if group is None else (group,)
        if len(names) != 1:
            self._several[len(self._hashes)] = [*map(hash_of, names)]
        self._hashes.append(hash_of(names[0]) if len(names) == 1 else 0)

    def is_for_validation(self, number: int) -> bool:
        """Whether a record (from 0) is kept for validation.

        Raises:
            Rejection: one of its media is, and another is not.
        """
        if self._bound is None:
            self._bound = self._find_bound()
        if number not in self._several:
            return self._hashes[number] <= self._bound
        sides = {one <= self._bound for one in self._several[number]}
        if len(sides) > 1:
            raise Rejection("split_between", f"{len(self._several[number])} images")
        return sides.pop() if sides else False

    def _find_bound(self) -> int:
        """The largest hash that is kept; -1: none is."""
        one_each = np.frombuffer(self._hashes, np.uint64) if self._hashes else np.zeros(0, np.uint64)
        alone = np.ones(len(one_each), bool)
        alone[[*self._several]] = False
        others = np.array([one for some in self._several.values() for one in some], np.uint64)
        hashes = np.unique(np.concatenate([one_each[alone], others]))
        count = max(1, round(self._share * len(hashes)))
        return int(hashes[count - 1]) if len(hashes) else -1
