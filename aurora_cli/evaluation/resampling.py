"""How sure a score is: the bootstrap, and for two captioners on the same media the paired one and a permutation test.

A score here is a function of sums over items, so that a resample is a row of weights and a product. Efron & Tibshirani,
1993; Koehn, EMNLP 2004 (the paired bootstrap of BLEU); Riezler & Maxwell, 2005 (randomization).
N items, C columns that are summed, S scores, R resamples.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from aurora_cli.evaluation.corpus import Floats

CONFIDENCE = 0.95
RESAMPLES = 1000

Statistic = Callable[[Floats], Floats]
"""Sums (..., C) of so many items' columns as there are -> scores (..., S)."""


class Interval(NamedTuple):
    """A score, and where it would lie for 95 of 100 sets of media like this one."""

    value: float
    low: float
    high: float


def intervals(columns_NC: Floats, statistic: Statistic, *, resamples: int = RESAMPLES, seed: int = 0) -> list[Interval]:
    """Of every score. One item says nothing of others: its interval is its value."""
    values = statistic(columns_NC.sum(axis=0))
    sums_RC = np.stack([weights_N @ columns_NC for weights_N in _draws(len(columns_NC), resamples, seed)])
    return _percentiles(values, statistic(sums_RC))


class Difference(NamedTuple):
    """By how much one captioner scores higher than another on the same media."""

    value: float
    low: float
    high: float
    p: float
    """How often a difference at least as large comes from giving each medium's two captions to the two at random."""


def differences(
    ours_NC: Floats, theirs_NC: Floats, statistic: Statistic, *, resamples: int = RESAMPLES, seed: int = 0
) -> list[Difference]:
    """Ours less theirs, of every score; item i of both is the same medium."""
    difference = statistic(ours_NC.sum(axis=0)) - statistic(theirs_NC.sum(axis=0))
    drawn = [
        statistic(weights_N @ ours_NC) - statistic(weights_N @ theirs_NC)
        for weights_N in _draws(len(ours_NC), resamples, seed)
    ]
    swapped = np.stack(
        [_swapped(ours_NC, theirs_NC, statistic, flips) for flips in _flips(len(ours_NC), resamples, seed)]
    )
    as_large = np.abs(swapped) >= np.abs(difference) - 1e-12  # rounding alone makes none smaller
    p = (1 + as_large.sum(axis=0)) / (1 + resamples)
    found = _percentiles(difference, np.stack(drawn))
    return [Difference(*interval, float(each)) for interval, each in zip(found, p, strict=True)]


def _percentiles(values: Floats, drawn_RS: Floats) -> list[Interval]:
    tail = 100 * (1 - CONFIDENCE) / 2
    low_S, high_S = np.percentile(drawn_RS, [tail, 100 - tail], axis=0)
    return [Interval(float(v), float(lo), float(hi)) for v, lo, hi in zip(values, low_S, high_S, strict=True)]


def _draws(items: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each item is drawn, items of them with replacement."""
    rng = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(rng.integers(items, size=items), minlength=items).astype(np.float64)


def _flips(items: int, resamples: int, seed: int) -> Iterator[Floats]:
    rng = np.random.default_rng([seed, 1])
    for _ in range(resamples):
        yield rng.integers(2, size=items).astype(np.float64)


def _swapped(ours_NC: Floats, theirs_NC: Floats, statistic: Statistic, flips_N: Floats) -> Floats:
    kept_N = 1.0 - flips_N
    ours, theirs = kept_N @ ours_NC + flips_N @ theirs_NC, flips_N @ ours_NC + kept_N @ theirs_NC
    return statistic(ours) - statistic(theirs)
