"""Which samples fit into packs, and are taken in an epoch: functions of numbers alone."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

TooLong = Literal["cut", "reject"]

WEIGHT_STREAM = 2
"""Keeps the random numbers of fractional weights apart from those of plan and order."""

CHUNK = 1 << 20
"""Samples looked at in one numpy call: bounds the temporaries."""


def chunks(count: int) -> list[slice]:
    """So many samples, at most CHUNK at a time."""
    return [slice(start, min(start + CHUNK, count)) for start in range(0, count, CHUNK)]


def number_type(count: int) -> type[np.signedinteger]:
    """What holds the numbers of so many samples: 4 bytes each where they suffice, for every process keeps them."""
    return np.int32 if count <= 1 << 31 else np.int64


def size_type(most: int) -> type[np.integer]:
    """What holds a sample's tokens or frames, if a pack holds so many: 2 bytes where they suffice."""
    return np.uint16 if most < 1 << 16 else np.int32


def numbers_where(wanted: np.ndarray, within: slice | None = None) -> np.ndarray:
    """Numbers of the samples that are wanted, of all or `within` some; no temporary is as long as `wanted`.

    >>> numbers_where(np.array([True, True, False, True]), slice(1, 4)).tolist()
    [1, 3]
    """
    start, stop, _ = (within or slice(None)).indices(len(wanted))
    found, end = np.empty(np.count_nonzero(wanted[start:stop]), number_type(len(wanted))), 0
    for chunk in chunks(stop - start):
        some = np.flatnonzero(wanted[start:stop][chunk])
        found[end : end + len(some)] = some + (start + chunk.start)
        end += len(some)
    return found


class PackBudget(NamedTuple):
    """What a pack holds at most."""

    tokens: int
    """That the language model reads."""
    frames: int
    """That the tower takes."""

    def __str__(self) -> str:
        return f"{self.tokens} tokens and {self.frames} frames"


class Fit(NamedTuple):
    """How samples fit into packs: arrays with an entry a sample."""

    lengths: np.ndarray
    """Language-model tokens, those beyond a pack cut off."""
    fits: np.ndarray
    """False where no pack holds the sample."""
    is_cut: np.ndarray
    """True where the last answer loses its end."""
    media_fit: np.ndarray
    """False where its images and videos alone are too much: media are never cut."""


def fit(lengths: np.ndarray, visual: np.ndarray, frames: np.ndarray, budget: PackBudget, too_long: TooLong) -> Fit:
    """Fit samples of `lengths` tokens, `visual` of them those of `frames` frames, into packs.

    >>> fit(np.array([30, 50, 50]), np.array([0, 9, 45]), np.array([0, 1, 5]), PackBudget(40, 8), "cut").fits.tolist()
    [True, True, False]
    """
    beyond = lengths > budget.tokens
    # One token before the first target must stay beside the media.
    media_fit = (visual + 2 <= budget.tokens) & (frames <= budget.frames)
    fits = media_fit & ~beyond if too_long == "reject" else media_fit
    return Fit(np.minimum(lengths, budget.tokens), fits, beyond & fits, media_fit)


class Visit(NamedTuple):
    """Samples that an epoch takes."""

    numbers: np.ndarray
    before: np.ndarray | int
    """How often each has been taken before, by the whole part of its store's weight, or by the fraction."""


def epoch_visits(stores: Sequence[np.ndarray], weights: Sequence[float], *, seed: int, epoch: int) -> list[Visit]:
    """What an epoch takes of each store's samples, by weight: 2 takes each twice, 0.5 the next half every time."""
    visits: list[Visit] = []
    for index, (numbers, weight) in enumerate(zip(stores, weights, strict=True)):
        whole = int(weight)
        visits += [Visit(numbers, epoch * whole + copy) for copy in range(whole)]
        share = weight - whole
        if share and len(numbers):
            some = max(1, round(share * len(numbers)))
            shuffled = np.random.default_rng([seed, index, WEIGHT_STREAM]).permutation(numbers)
            turns, indices = np.divmod(np.arange(some) + epoch * some, len(numbers))
            visits.append(Visit(shuffled[indices], turns))
    return visits


def epoch_samples(stores: Sequence[np.ndarray], weights: Sequence[float], *, seed: int, epoch: int) -> np.ndarray:
    """Numbers of the samples of `epoch_visits`.

    >>> epoch_samples([np.array([5, 6])], [2.0], seed=0, epoch=0).tolist()
    [5, 6, 5, 6]
    """
    taken = [visit.numbers for visit in epoch_visits(stores, weights, seed=seed, epoch=epoch)]
    return taken[0] if len(taken) == 1 else np.concatenate(taken)
