"""At which kept ratio an epoch takes a sample, where a run trains at several.

The ratios lie on a wheel, each as often as its weight says and spread evenly. Every sample has its slot on it, and at
each visit the wheel has turned by one: in a turn a sample meets all ratios exactly in proportion, and since the slots
are dealt out evenly, so do the samples of every epoch.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from aurora_cli.config.merging import TokenMerging
from aurora_cli.data.batches.collator import TokenCounts
from aurora_cli.data.batches.selection import Visit, chunks

SLOT_STREAM = 3
"""Keeps the slots' random numbers apart from those of plan, order and weights."""

LARGEST_WHEEL = 1000
"""Weights are true to a part in so many, at least."""

SLOTS = 1 << 16
"""Of a wheel, whatever its ratios: a sample's slot is a number below."""


class StepRatio(NamedTuple):
    """What a step has one of."""

    merging: TokenMerging | None
    """None: the network's own."""
    token_counts: TokenCounts
    share: float = 1.0
    """Of all samples."""


def wheel(shares: Sequence[float]) -> np.ndarray:
    """uint8: indices of the shares, each as often as it is large, spread evenly.

    >>> wheel([0.5, 0.5]).tolist(), wheel([0.25, 0.75]).tolist()
    ([0, 1], [1, 0, 1, 1])
    """
    weights = np.asarray(shares) / sum(shares)
    sizes = np.arange(len(weights), LARGEST_WHEEL + 1)
    counts = sizes[:, None] * weights
    is_whole = np.abs(counts - np.rint(counts)).max(axis=1) < 1e-6
    size = int(sizes[is_whole.argmax()]) if is_whole.any() else LARGEST_WHEEL
    taken, slots = np.zeros(len(weights)), np.empty(size, np.uint8)
    for slot in range(size):
        slots[slot] = np.argmax(weights * (slot + 1) - taken)
        taken[slots[slot]] += 1
    return slots


class RatioWheels:
    """The wheels of a run, and the slots of its samples."""

    def __init__(self, shares: Sequence[float], trained: np.ndarray, fitting: np.ndarray, seed: int) -> None:
        """`trained` numbers samples; `fitting` says of every sample at how many of the ratios, from the smallest on, a
        pack holds it: at these alone it is taken, by their shares beside each other."""
        self._wheels = [wheel(shares[:count]) for count in range(1, len(shares) + 1)]
        self._fitting = fitting
        self._slots = np.zeros(len(fitting), np.uint16)
        self._dealt: tuple[int, list[tuple[np.ndarray, np.ndarray]]] | None = None
        rng = np.random.default_rng([seed, SLOT_STREAM])
        for start in range(0, len(trained), SLOTS):  # what is shuffled stays in the cache, and neighbours are spread
            some = trained[start : start + SLOTS]
            ranks = rng.permutation(len(some))
            self._slots[some] = (2 * ranks + 1) * SLOTS // (2 * len(some))

    def epoch(self, epoch: int, visits: Callable[[], list[Visit]]) -> list[tuple[np.ndarray, np.ndarray]]:
        """The samples of an epoch's visits, and the ratio of each; those of the last epoch are remembered."""
        if self._dealt is None or self._dealt[0] != epoch:
            self._dealt = None
            self._dealt = epoch, [(visit.numbers, self.ratios(*visit)) for visit in visits()]
        return self._dealt[1]

    def ratios(self, numbers: np.ndarray, visits: np.ndarray | int) -> np.ndarray:
        """uint8: the ratio of each of the samples, by how often it has been taken before."""
        found = np.empty(len(numbers), np.uint8)
        for some in chunks(len(numbers)):
            slots, fitting = self._slots[numbers[some]], self._fitting[numbers[some]]
            before = visits if isinstance(visits, int) else visits[some]
            for count in np.flatnonzero(np.bincount(fitting)).tolist():
                own = self._wheels[count - 1]
                ratios = own[(slots.astype(np.int64) * len(own) // SLOTS + before) % len(own)]
                found[some] = np.where(fitting == count, ratios, found[some])
        return found
