"""At which kept ratio a step is taken, and which of that ratio's packs: a function of (seed, epoch, step).

Each ratio has an endless row of packs of its own, and its next step takes the next `train.global_batch_packs` of them.
To an epoch belong the steps whose last packs it brings, those of all ratios evenly among each other, by the seed; packs
that make no whole step wait for the epoch after. Only at a run's end each ratio may have a short step.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from aurora_cli.data.batches.sampler import PackRow
from aurora_cli.data.batches.selection import number_type

RATIO_STREAM = 4
"""Keeps the random numbers of this order apart from those of plan, order, weights and slots."""


class RatioStep(NamedTuple):
    """A step among those of its ratio."""

    ratio: int
    number: int
    """It takes the packs [number * G, (number + 1) * G) of the ratio's row, G = `train.global_batch_packs`."""


class _Epoch(NamedTuple):
    number: int
    first: int
    """The first of its steps."""
    ratios: np.ndarray
    """Of each of its steps."""
    numbers: np.ndarray


class StepOrder:
    """The steps of a run."""

    def __init__(self, rows: Sequence[PackRow], packs_a_step: int, *, seed: int, epochs: float | None) -> None:
        """`rows`: of each ratio; `epochs` none: the steps never end."""
        self._rows = rows
        self._packs = packs_a_step
        self._seed = seed
        self._epochs = epochs
        self.ends = None if epochs is None else tuple(row.packs_in_epochs(epochs) for row in rows)
        """Packs of each row that the run takes; none: it does not end."""
        self._current: _Epoch | None = None

    @property
    def steps(self) -> int:
        """Of the run that ends."""
        assert self.ends is not None
        return sum(math.ceil(end / self._packs) for end in self.ends)

    def locate(self, step: int) -> RatioStep:
        """Of a step, counted from 0."""
        if len(self._rows) == 1:
            return RatioStep(0, step)
        epoch = self._epoch_of(step)
        return RatioStep(int(epoch.ratios[step - epoch.first]), int(epoch.numbers[step - epoch.first]))

    def epochs_after(self, steps: int) -> float:
        """How often the data have been gone through after so many steps: of a half-done epoch, the share of its
        steps, or of its packs where there is one ratio."""
        if len(self._rows) == 1:
            packs = steps * self._packs if self.ends is None else min(steps * self._packs, self.ends[0])
            epoch, index = self._rows[0].locate(packs)
            return epoch + index / self._rows[0].packs_in_epoch(epoch)
        if steps == 0:
            return 0.0
        current = self._epoch_of(steps - 1)
        whole = 1.0 if self._epochs is None else min(1.0, self._epochs - current.number)
        return current.number + whole * (steps - current.first) / len(current.ratios)

    def steps_of_ratios(self, steps: int) -> list[int]:
        """Of the first so many steps, those of each ratio."""
        counts, done = np.zeros(len(self._rows), np.int64), 0
        while done < steps and len(self._rows) > 1:
            epoch = self._epoch_of(done)
            some = epoch.ratios[: steps - done]
            counts += np.bincount(some, minlength=len(counts))
            done += len(some)
        return counts.tolist()

    def _epoch_of(self, step: int) -> _Epoch:
        if self._current is None or step < self._current.first:
            self._current = self._make(0, first=0)
        while step >= (after := self._current.first + len(self._current.ratios)):
            self._current = self._make(self._current.number + 1, first=after)
        return self._current

    def _make(self, epoch: int, *, first: int) -> _Epoch:
        begins, ends = self._steps_before(epoch), self._steps_before(epoch + 1)
        ratios = interleaved(ends - begins, np.random.default_rng([self._seed, epoch, RATIO_STREAM]))
        numbers = np.empty(len(ratios), number_type(int(ends.max())))
        for ratio, begin in enumerate(begins):
            own = ratios == ratio
            numbers[own] = begin + np.arange(own.sum())
        if self.ends is not None and self._epochs is not None and epoch == math.ceil(self._epochs) - 1:
            packs = np.array(self.ends)
            is_there = numbers < packs[ratios] // self._packs
            short = np.flatnonzero(packs % self._packs)
            ratios = np.concatenate([ratios[is_there], short.astype(ratios.dtype)])
            numbers = np.concatenate([numbers[is_there], (packs[short] // self._packs).astype(numbers.dtype)])
        return _Epoch(epoch, first, ratios, numbers)

    def _steps_before(self, epoch: int) -> np.ndarray:
        """Whole steps of each ratio before an epoch."""
        return np.array([row.packs_in_epochs(epoch) // self._packs for row in self._rows])


def interleaved(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Indices of the counts, each as often as it says, so that every stretch has about its share of each.

    >>> interleaved(np.array([2, 4]), np.random.default_rng(0)).tolist()
    [1, 1, 0, 0, 1, 1]
    """
    moments = [(np.arange(count) + rng.random(count)) / count for count in counts.tolist()]
    ratios = np.repeat(np.arange(len(counts), dtype=np.uint8), counts)
    return ratios[np.argsort(np.concatenate(moments), kind="stable")]
