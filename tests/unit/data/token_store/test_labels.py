"""Runs of target tokens, found by numpy and by a loop."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aurora_cli.constants import IGNORE_INDEX
from aurora_cli.data.token_store.labels import answer_spans


def spans_by_a_loop(labels: list[int]) -> list[tuple[int, int]]:
    spans = []
    start = None
    for index, label in enumerate([*labels, IGNORE_INDEX]):
        if label != IGNORE_INDEX and start is None:
            start = index
        elif label == IGNORE_INDEX and start is not None:
            spans.append((start, index))
            start = None
    return spans


@given(st.lists(st.sampled_from([IGNORE_INDEX, 0, 7])))
def test_answer_spans_are_what_a_loop_finds(labels):
    assert answer_spans(np.array(labels, np.int32)) == spans_by_a_loop(labels)
