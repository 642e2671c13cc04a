"""Which samples are kept for validation: beside a slow search for what belongs together."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_cli.data.batches import selection
from aurora_cli.data.batches.validation import nearest, split_by_medium, split_by_row
from aurora_cli.data.token_store.media_keys import MediaKeys, keys_of
from aurora_cli.errors import DataError

ROWS = st.lists(st.integers(0, 10**6), min_size=3, max_size=40, unique=True)


@pytest.mark.slow
@given(ROWS, st.floats(0.01, 0.3), st.floats(0.31, 0.6))
def test_a_larger_share_holds_the_samples_of_a_smaller_one(rows: list[int], less: float, more: float) -> None:
    numbers = np.array(rows)
    small, large = split_by_row(numbers, less), split_by_row(numbers, more)
    assert len(small) == max(1, round(less * len(rows)))
    assert set(small.tolist()) <= set(large.tolist()) <= set(range(len(rows)))
    assert len(split_by_row(numbers, 0.0)) == 0


@pytest.mark.slow
@given(ROWS, st.randoms(use_true_random=False))
def test_validation_samples_are_selected_by_their_row_not_by_their_index(rows: list[int], shuffle: object) -> None:
    again = list(rows)
    shuffle.shuffle(again)  # type: ignore[attr-defined]
    assert {rows[index] for index in split_by_row(np.array(rows), 0.4)} == {
        again[index] for index in split_by_row(np.array(again), 0.4)
    }


def test_a_share_that_leaves_none_to_train_on_is_an_error() -> None:
    with pytest.raises(DataError, match=r"data.validation_share 0.4 of 1 samples leaves none"):
        split_by_row(np.array([7]), 0.4)


@pytest.mark.parametrize("chunk", [1, 2, 1 << 20])
@pytest.mark.parametrize(
    ("wanted", "count"),
    [(1, 1), (3, 1), (4, 1), (5, 2), (6, 2), (7, 2), (8, 3), (9, 3)],  # they hold 3, 5 and 9; 4 and 7 are between two
)
def test_as_many_sets_are_kept_as_hold_nearest_to_what_is_wanted(
    wanted: int, count: int, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "CHUNK", chunk)
    held = np.array([3, 5, 9])
    assert count == int(np.argmin(np.abs(held - wanted))) + 1
    assert nearest(np.array([4, 3, 2]), np.array([1, 2, 0]), wanted) == count


SAMPLES = st.lists(st.lists(st.integers(0, 25), max_size=3), min_size=4, max_size=50)
"""The media of each sample; none: a text alone."""


def ragged(samples: list[list[int]]) -> MediaKeys:
    keys = [keys_of([f"{medium}.jpg" for medium in media], None, None) for media in samples]
    offsets = np.cumsum([0, *map(len, keys)], dtype=np.int64)
    return MediaKeys(offsets, np.array([key for some in keys for key in some], np.uint32))


def belonging_together(samples: list[list[int]]) -> list[set[int]]:
    """Sets of samples that are joined by media, by joining two at a time until nothing changes."""
    sets = [({index}, {*media}) for index, media in enumerate(samples)]
    while True:
        pair = next(
            ((a, b) for a in range(len(sets)) for b in range(a) if sets[a][1] & sets[b][1]),
            None,
        )
        if pair is None:
            return [indices for indices, _ in sets]
        a, b = pair
        sets[b] = (sets[a][0] | sets[b][0], sets[a][1] | sets[b][1])
        del sets[a]


def kept(samples: list[list[int]], share: float) -> set[int]:
    return set(split_by_medium(np.arange(len(samples)), ragged(samples), share).tolist())


@pytest.mark.slow
@given(SAMPLES, st.floats(0.01, 0.3), st.floats(0.31, 0.49))
def test_what_belongs_together_lies_on_one_side_and_a_larger_share_holds_a_smaller_one(
    samples: list[list[int]], less: float, more: float
) -> None:
    sets = belonging_together(samples)
    if len(sets) == 1:
        with pytest.raises(DataError, match="they all belong together"):
            kept(samples, less)
        return
    try:
        small, large = kept(samples, less), kept(samples, more)
    except DataError:
        assert len(sets) == 2  # the nearest to the share is all of it
        return
    assert small
    assert small <= large < set(range(len(samples)))
    for some in sets:
        assert some <= small or not some & small
        assert some <= large or not some & large


@pytest.mark.slow
@given(st.lists(st.integers(1, 4), min_size=10, max_size=60), st.floats(0.01, 0.49))
def test_as_many_are_kept_as_were_wanted_within_one_medium(captions: list[int], share: float) -> None:
    """So many captions of each of the media; none of them has a tenth of all."""
    samples = [[medium] for medium, count in enumerate(captions) for _ in range(count)]
    held, wanted = len(kept(samples, share)), share * len(samples)
    assert abs(held - max(1, wanted)) <= max(captions) / 2 + 0.5 or held == min(held, max(captions))
    if set(captions) == {1}:
        assert held == max(1, round(wanted))


def test_a_tenth_of_sixty_images_is_six() -> None:
    assert len(kept([[number] for number in range(60)], 0.1)) == 6


def test_a_medium_that_most_samples_show_is_trained_on() -> None:
    """Whichever hash it has: 30 samples of one medium, and 3 of others."""
    for medium in range(20):
        samples = [[medium]] * 30 + [[100], [101], [102]]
        assert kept(samples, 0.03) < {30, 31, 32}


def test_an_order_of_the_samples_does_not_change_what_is_kept() -> None:
    samples = [[number // 3] for number in range(60)]
    order = np.random.default_rng(0).permutation(60)
    again = kept([samples[index] for index in order], 0.2)
    assert {int(order[index]) for index in again} == kept(samples, 0.2)


def test_a_group_holds_crops_of_a_photo_together_and_is_no_path() -> None:
    keys = [keys_of([f"{number}.jpg"], None, f"photo {number // 4}") for number in range(40)]
    offsets = np.arange(41, dtype=np.int64) * 2
    found = split_by_medium(np.arange(40), MediaKeys(offsets, np.array(keys, np.uint32).reshape(-1)), 0.1)
    assert len(found) == 4
    assert len({index // 4 for index in found.tolist()}) == 1
    assert not set(keys_of(["a walk"], None, None)) & set(keys_of(None, None, "a walk"))
