"""Intervals and p-values: they hold at the rate that they state."""

import numpy as np
import pytest

from aurora_cli.evaluation.corpus import Floats
from aurora_cli.evaluation.resampling import differences, intervals


def mean(sums: Floats) -> Floats:
    return sums[..., :1] / sums[..., 1:]


def columns(values: Floats) -> Floats:
    return np.column_stack([values, np.ones(len(values))])


@pytest.mark.slow
def test_of_a_hundred_sets_about_95_intervals_hold_the_true_mean():
    """Skewed values of mean 1: 300 sets of 150, so that the rate has a standard deviation of 1.3 %."""
    rng = np.random.default_rng(4)
    held = 0
    for seed in range(300):
        (found,) = intervals(columns(rng.exponential(1.0, 150)), mean, resamples=200, seed=seed)
        held += found.low <= 1.0 <= found.high
    assert 0.90 <= held / 300 <= 0.98


@pytest.mark.slow
def test_p_values_of_two_equal_captioners_are_below_5_percent_in_5_of_100_sets():
    rng = np.random.default_rng(5)
    below = 0
    for seed in range(300):
        common = rng.normal(size=60)
        ours, theirs = (columns(common + rng.normal(size=60)) for _ in range(2))
        (found,) = differences(ours, theirs, mean, resamples=200, seed=seed)
        below += found.p < 0.05
    assert 0.02 <= below / 300 <= 0.085


def test_an_interval_is_near_the_one_of_the_normal_distribution():
    values = np.random.default_rng(6).normal(3.0, 2.0, 2000)
    (found,) = intervals(columns(values), mean)
    half = 1.96 * values.std() / np.sqrt(2000)
    assert found == pytest.approx((values.mean(), values.mean() - half, values.mean() + half), abs=0.01)


def test_a_captioner_does_not_differ_from_itself():
    same = columns(np.arange(5.0))
    assert differences(same, same, mean) == [(0.0, 0.0, 0.0, 1.0)]


def test_the_difference_of_pairs_is_surer_than_that_of_sets():
    """Media differ a hundred times as much as captioners do, and cancel: 0.5 is 0.5 in every resample."""
    media = 100.0 * np.random.default_rng(7).normal(size=50)
    (found,) = differences(columns(media + 0.5), columns(media), mean)
    assert found[:3] == pytest.approx((0.5, 0.5, 0.5))
    assert found.p < 0.01


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    values = columns(np.random.default_rng(8).normal(size=30))
    first, again, other = (intervals(values, mean, seed=seed) for seed in (1, 1, 2))
    assert first == again != other
