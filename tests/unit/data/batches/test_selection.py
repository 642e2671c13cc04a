import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_cli.data.batches.selection import PackBudget, epoch_samples, fit

SAMPLES = st.lists(st.tuples(st.integers(1, 90), st.integers(0, 12), st.integers(1, 9)), max_size=60)
"""Tokens of text, frames, tokens of a frame."""


@pytest.mark.slow
@given(SAMPLES, st.integers(2, 60), st.integers(0, 9))
def test_what_is_cut_keeps_its_media_and_what_is_rejected_is_all_that_is_too_long(
    samples: list[tuple[int, int, int]], tokens: int, most_frames: int
) -> None:
    text, frames, each = (np.array([sample[part] for sample in samples], np.int32) for part in range(3))
    visual, budget = frames * each, PackBudget(tokens, most_frames)
    cut = fit(text + visual, visual, frames, budget, "cut")
    rejected = fit(text + visual, visual, frames, budget, "reject")
    for index in range(len(samples)):
        length = int(text[index] + visual[index])
        media_fit = visual[index] + 2 <= tokens and frames[index] <= most_frames
        assert cut.media_fit[index] == cut.fits[index] == media_fit
        assert cut.is_cut[index] == (media_fit and length > tokens)
        assert rejected.fits[index] == (media_fit and length <= tokens)
        assert cut.lengths[index] == rejected.lengths[index] == min(length, tokens)
    assert not rejected.is_cut.any()


@pytest.mark.slow
@given(st.lists(st.integers(0, 20), min_size=1, max_size=4), st.integers(0, 3), st.integers(0, 5))
def test_a_whole_weight_takes_every_sample_that_often_in_every_epoch(sizes: list[int], weight: int, epoch: int) -> None:
    ends = np.cumsum(sizes)
    stores = [np.arange(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    weights = [float(weight + 1)] * len(sizes)
    taken = epoch_samples(stores, weights, seed=0, epoch=epoch)
    assert sorted(taken.tolist()) == sorted(list(range(sum(sizes))) * (weight + 1))


@given(st.integers(1, 40), st.sampled_from([2, 4, 5]), st.integers(0, 5))
def test_fractions_take_another_part_every_epoch_until_all_are_taken(parts: int, epochs: int, seed: int) -> None:
    numbers = np.arange(parts * epochs) + 100
    taken = [epoch_samples([numbers], [1 / epochs], seed=seed, epoch=epoch) for epoch in range(epochs)]
    assert [len(some) for some in taken] == [parts] * epochs
    assert sorted(np.concatenate(taken).tolist()) == numbers.tolist()
