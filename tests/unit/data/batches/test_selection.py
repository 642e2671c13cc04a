import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_cli.data.batches.selection import PackBudget, epoch_samples, fit, validation_split
from aurora_cli.errors import DataError

SAMPLES = st.lists(st.tuples(st.integers(1, 90), st.integers(0, 12), st.integers(1, 9)), max_size=60)
"""Tokens of text, frames, tokens of a frame."""


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


ROWS = st.lists(st.integers(0, 10**6), min_size=3, max_size=40, unique=True)


@given(ROWS, st.floats(0.01, 0.3), st.floats(0.31, 0.6))
def test_a_larger_share_holds_the_samples_of_a_smaller_one(rows: list[int], less: float, more: float) -> None:
    numbers = np.array(rows)
    small, large = validation_split(numbers, less), validation_split(numbers, more)
    assert len(small) == max(1, round(less * len(rows)))
    assert set(small.tolist()) <= set(large.tolist()) <= set(range(len(rows)))
    assert len(validation_split(numbers, 0.0)) == 0


@given(ROWS, st.randoms(use_true_random=False))
def test_validation_samples_are_selected_by_their_row_not_by_their_index(rows: list[int], shuffle: object) -> None:
    again = list(rows)
    shuffle.shuffle(again)  # type: ignore[attr-defined]
    assert {rows[index] for index in validation_split(np.array(rows), 0.4)} == {
        again[index] for index in validation_split(np.array(again), 0.4)
    }


def test_a_share_that_leaves_none_to_train_on_is_an_error() -> None:
    with pytest.raises(DataError, match=r"data.validation_share 0.4 of 1 samples leaves none"):
        validation_split(np.array([7]), 0.4)


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
