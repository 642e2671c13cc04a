"""Numbers of a store, a piece at a time, are those of all rows at once."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_cli.data.token_store.store import Summary
from aurora_cli.pipeline.inspect.store_numbers import SHARES, StoreNumbers

ROWS = st.lists(st.tuples(st.integers(1, 300), st.integers(0, 15), st.floats(0, 1)), max_size=40)


def summary(rows):
    lengths = np.array([length for length, _, _ in rows], np.int32)
    media = np.array([media for _, media, _ in rows], np.int32)
    target_tokens = np.array([int(share * length) for length, _, share in rows], np.int32)
    return Summary(length=lengths, frames=media * 2, media=media, videos=media // 2, target_tokens=target_tokens)


@pytest.mark.slow
@given(ROWS, ROWS)
def test_pieces_add_up_to_the_whole(first, second):
    pieces, whole = StoreNumbers([summary(first), summary(second)]), StoreNumbers([summary(first + second)])
    assert pieces.lengths() == whole.lengths()
    assert pieces.even_lengths() == whole.even_lengths()
    assert pieces.by_share.tolist() == whole.by_share.tolist()
    assert (pieces.tokens, pieces.target_tokens, pieces.frames) == (whole.tokens, whole.target_tokens, whole.frames)


@pytest.mark.slow
@given(ROWS)
def test_every_histogram_holds_every_row(rows):
    numbers = StoreNumbers([summary(rows)])
    for bins in (
        numbers.doubling_lengths(),
        numbers.even_lengths(),
        numbers.media_counts(),
        numbers.frame_counts(),
    ):
        assert sum(entry.rows for entry in bins) == len(rows)
        assert all(first.last + 1 == second.first for first, second in pairwise(bins))
        assert len(bins) <= 41
    assert numbers.by_share.sum() == len(rows)


def test_worked_by_hand():
    lengths, target_tokens = [1, 5, 20, 40], [0, 5, 10, 39]
    media = np.array([0, 1, 1, 12], np.int32)
    numbers = StoreNumbers(
        [Summary(np.array(lengths, np.int32), media, media, media * 0, np.array(target_tokens, np.int32))]
    )
    assert numbers.lengths() == {"min": 1, "median": 5, "mean": 16.5, "p95": 40, "max": 40}
    assert {entry.name: entry.rows for entry in numbers.doubling_lengths()} == {"1-15": 2, "16-31": 1, "32-63": 1}
    assert {entry.name: entry.rows for entry in numbers.media_counts() if entry.rows} == {"0": 1, "1": 2, "10-12": 1}
    assert np.flatnonzero(numbers.by_share).tolist() == [0, SHARES // 2, SHARES - 1]
    assert numbers.without_media == 1


def test_no_rows_have_no_lengths():
    numbers = StoreNumbers([summary([])])
    assert (numbers.rows, numbers.lengths(), numbers.even_lengths(), numbers.doubling_lengths()) == (0, {}, [], [])
