"""Different texts of a stream: exact where they are few, and a fair share of any number where they are not."""

import tempfile
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_cli.data import seen
from aurora_cli.data.seen import DistinctSample, Seen, SeenOnDisk

TEXTS = st.lists(st.text(max_size=3), max_size=200)


def counted(texts: list[str], most: int) -> DistinctSample:
    sample = DistinctSample(most)
    for text in texts:
        if sample.wants(text):
            sample.add(text, is_in_class=len(text) > 1)
    return sample


@pytest.mark.slow
@given(TEXTS, st.integers(1, 8))
def test_seen_is_a_set(texts: list[str], recent: int) -> None:
    before, seen._RECENT = seen._RECENT, recent
    try:
        found, plain = Seen(), set()
        for text in texts:
            assert found.add(text) == (text not in plain)
            plain.add(text)
            assert len(found) == len(plain)
            assert text in found
    finally:
        seen._RECENT = before


@pytest.mark.slow
@given(TEXTS, st.integers(1, 8), st.integers(1, 5), st.integers(1, 9), st.sampled_from([8, 64, 4096]))
def test_a_set_on_disk_is_a_set(texts: list[str], recent: int, page: int, part: int, bits: int) -> None:
    sizes = {"_RECENT": recent, "_MOST_RECENT": 2 * recent, "_PAGE": page, "_PART": part, "_BITS": bits}
    with tempfile.TemporaryDirectory() as folder, patch.multiple(seen, **sizes):
        found, plain = SeenOnDisk(Path(folder)), set()
        for text in texts:
            assert found.add(text) == (text not in plain)
            plain.add(text)
            assert len(found) == len(plain)
        found.close()
        assert list(Path(folder).iterdir()) == []


@given(TEXTS)
def test_few_texts_are_counted_exactly(texts: list[str]) -> None:
    sample = counted(texts, 200)
    assert (sample.texts, sample.is_estimate) == (len(set(texts)), False)
    assert sample.in_class == sum(len(text) > 1 for text in set(texts))


@given(TEXTS, st.integers(1, 20))
def test_what_is_kept_is_bounded_and_how_often_a_text_comes_does_not_matter(texts: list[str], most: int) -> None:
    sample = counted(texts, most)
    assert sample.texts // sample.scale <= most
    assert sample.texts == counted([*texts, *texts], most).texts


@pytest.mark.slow
def test_of_a_million_texts_few_are_kept_and_their_number_is_near() -> None:
    most, count = 4096, 1_000_000
    sample, highest = DistinctSample(most), 0
    for number in range(count):
        text = f"images/{number}.jpg"
        if sample.wants(text):
            sample.add(text, is_in_class=number % 4 == 0)
            highest = max(highest, sample._kept)
    assert sample.is_estimate
    assert highest <= most + 1
    sigma = (most / 2) ** -0.5  # at least half as many are kept
    assert abs(sample.texts / count - 1) < 6 * sigma
    assert abs(sample.in_class / (count / 4) - 1) < 6 * 2 * sigma
