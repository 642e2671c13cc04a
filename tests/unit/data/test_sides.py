"""The sides of records, whose hashes lie in a file and are looked at in parts, against a sorted list of all."""

import tempfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_cli.data.annotations.records import Rejection
from aurora_cli.data.importing import validation
from aurora_cli.data.importing.validation import Sides, hash_of

NAMES = st.text("abc", max_size=2)
RECORDS = st.lists(st.tuples(st.lists(NAMES, max_size=3), st.none() | NAMES), min_size=1, max_size=60)


def plainly(records: list[tuple[list[str], str | None]], share: float) -> list[bool | None]:
    """For validation, for training, or None: some of its media are for the one and some for the other."""
    named = [media if group is None else [group] for media, group in records]
    hashes = sorted({hash_of(name) for names in named for name in names})
    chosen = set(hashes[: max(1, round(share * len(hashes)))])
    sides = [{hash_of(name) in chosen for name in names} for names in named]
    return [None if len(each) > 1 else each.pop() if each else False for each in sides]


def side(sides: Sides, number: int) -> bool | None:
    try:
        return sides.is_for_validation(number)
    except Rejection:
        return None


@pytest.mark.slow
@given(RECORDS, st.floats(0.01, 0.99), st.integers(1, 20))
def test_as_many_of_the_media_as_the_share_says_those_with_the_smallest_hashes(
    records: list[tuple[list[str], str | None]], share: float, part: int
) -> None:
    before, validation.PART = validation.PART, part
    try:
        with tempfile.TemporaryDirectory() as folder, closing(Sides(share, Path(folder))) as sides:
            for media, group in records:
                sides.add(media, group)
            assert [side(sides, number) for number in range(len(records))] == plainly(records, share)
            assert side(sides, 0) == plainly(records, share)[0], "in any order"
    finally:
        validation.PART = before
