"""Taking ahead: the same items in the same order, errors in their turn, nothing left running."""

import threading
import time
from collections.abc import Generator, Iterator

import pytest

from aurora_cli.io.prefetch import mapped_ahead, taken_ahead


class Numbers:
    """A generator's life, told."""

    def __init__(self, count: int, fails_at: int | None = None) -> None:
        self.count, self.fails_at = count, fails_at
        self.made: list[int] = []
        self.closed_by: str | None = None

    def open(self) -> Generator[int, None, None]:
        try:
            for number in range(self.count):
                if number == self.fails_at:
                    raise ValueError(f"number {number}")
                self.made.append(number)
                yield number
        finally:
            self.closed_by = threading.current_thread().name


def running() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "data taken ahead"]


def made_when_settled(numbers: Numbers, expected: int) -> list[int]:
    deadline = time.monotonic() + 10
    while len(numbers.made) < expected and time.monotonic() < deadline:
        time.sleep(0.001)
    time.sleep(0.02)  # one too many would come now
    return list(numbers.made)


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_the_items_are_the_same_in_the_same_order(depth: int) -> None:
    assert list(taken_ahead(Numbers(20).open, depth)) == list(range(20))
    assert list(taken_ahead(Numbers(0).open, depth)) == []
    assert running() == []


def test_no_more_than_depth_items_lie_ready() -> None:
    numbers = Numbers(20)
    ahead = taken_ahead(numbers.open, 2)
    assert next(ahead) == 0
    assert made_when_settled(numbers, 3) == [0, 1, 2]
    assert next(ahead) == 1
    assert made_when_settled(numbers, 4) == [0, 1, 2, 3]
    ahead.close()


def test_an_error_comes_after_the_items_before_it() -> None:
    ahead = taken_ahead(Numbers(20, fails_at=2).open, 5)
    assert [next(ahead), next(ahead)] == [0, 1]
    with pytest.raises(ValueError, match="number 2"):
        next(ahead)
    assert running() == []


def test_leaving_in_the_middle_closes_the_generator_and_ends_the_thread() -> None:
    numbers = Numbers(20)
    ahead = taken_ahead(numbers.open, 3)
    assert next(ahead) == 0
    ahead.close()
    assert numbers.closed_by == "data taken ahead"
    assert running() == []


def test_nothing_is_opened_before_the_first_item_is_asked_for() -> None:
    numbers = Numbers(3)
    taken_ahead(numbers.open, 3).close()
    assert (numbers.made, numbers.closed_by) == ([], None)


@pytest.mark.parametrize("threads", [1, 3])
def test_what_several_threads_make_comes_in_order_and_no_more_items_are_taken_than_they_hold(threads: int) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(20):
            taken.append(number)
            yield number

    def late(number: int) -> int:
        time.sleep(0.001 * (number % 3))
        return -number

    for count, made in enumerate(mapped_ahead(late, items(), threads)):
        assert made == -count
        assert len(taken) <= count + threads + 1
    assert len(taken) == 20


def test_what_a_function_raises_comes_in_its_turn() -> None:
    made = mapped_ahead(lambda number: 6 // number, [3, 2, 0, 1], 2)
    assert (next(made), next(made)) == (2, 3)
    with pytest.raises(ZeroDivisionError):
        next(made)
