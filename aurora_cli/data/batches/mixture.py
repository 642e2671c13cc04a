"""At which kept ratio an epoch takes a sample, where a run trains at several.

The ratios lie on a wheel, each as often as its weight says and spread evenly. Every sample has its slot on it, and at
each visit the wheel has turned by one: in a turn a sample meets all ratios exactly in proportion, and since the slots
are dealt out evenly, so do the samples of every epoch.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from aurora_cli.config.merging import TokenMerging
from aurora_cli.data.batches.collator import TokenCounts
from aurora_cli.data.batches.packing import CHUNK

SLOT_STREAM = 3
"""Keeps the slots' random numbers apart from those of plan, order and weights."""

LARGEST_WHEEL = 1000
"""Weights are true to a part in so many, at least."""

SLOT_BITS = 16
"""Of a sample's slot, as a share of the wheel."""


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
        ranks = np.arange(len(trained), dtype=np.uint32)
        np.random.default_rng([seed, SLOT_STREAM]).shuffle(ranks)
        self._slots = np.zeros(len(fitting), np.uint16)
        for some in _chunks(len(trained)):
            middles = (2 * ranks[some].astype(np.uint64) + 1) << np.uint64(SLOT_BITS - 1)
            self._slots[trained[some]] = middles // np.uint64(len(trained))

    def ratios(self, numbers: np.ndarray, visits: np.ndarray | int) -> np.ndarray:
        """uint8: the ratio of each of the samples, by how often it has been taken before."""
        found = np.empty(len(numbers), np.uint8)
        for some in _chunks(len(numbers)):
            slots, fitting = self._slots[numbers[some]].astype(np.int64), self._fitting[numbers[some]]
            turned = visits if isinstance(visits, int) else visits[some]
            for count in np.flatnonzero(np.bincount(fitting)).tolist():
                of_wheel = self._wheels[count - 1]
                ratios = of_wheel[((slots * len(of_wheel) >> SLOT_BITS) + turned) % len(of_wheel)]
                found[some] = np.where(fitting == count, ratios, found[some])
        return found


def _chunks(count: int) -> list[slice]:
    return [slice(start, start + CHUNK) for start in range(0, count, CHUNK)]
