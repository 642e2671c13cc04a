"""Axes: worked numbers, and of any numbers an axis that holds them all with few and different labels."""

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aurora_cli.reports.axes import axis_of, power_ticks


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0.2, 0.9], ["0.2", "0.4", "0.6", "0.8", "1"]),
        ([1.0, 1.001], ["0", "0.5", "1", "1.5"]),  # noise around a constant is not spread over the axis
        ([1.0, 1.0], ["0", "0.25", "0.5", "0.75", "1"]),
        ([-5.0], ["-6", "-4", "-2", "0"]),
        ([0.0, 0.0], ["0", "0.25", "0.5", "0.75", "1"]),
        ([0.93, 0.99, 1.0], ["0.92", "0.94", "0.96", "0.98", "1"]),
        ([2_500.0, 12_400.0], ["2500", "5000", "7500", "10 K", "12.5 K"]),
        ([1.0, math.nan, math.inf, 3.0], ["1", "1.5", "2", "2.5", "3"]),
    ],
)
def test_an_even_axis_has_round_numbers(values: list[float], labels: list[str]) -> None:
    axis = axis_of(values)
    assert axis is not None
    assert list(axis.ticks.values()) == labels


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (1.0, 1.0, ["0.5", "1", "2"]),
        (0.8, 7.5, ["0.5", "1", "2", "5", "10"]),
        (0.03, 2.2, ["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2", "5"]),
        (0.003, 2.2, ["0.002", "0.01", "0.1", "1", "5"]),
        (1e-9, 1e3, ["1e-09", "1e-08", "1e-06", "0.0001", "0.01", "1", "100", "1000"]),
    ],
)
def test_a_logarithmic_axis_has_one_two_five_or_powers(low: float, high: float, labels: list[str]) -> None:
    assert list(power_ticks(math.log10(low), math.log10(high)).values()) == labels


@pytest.mark.parametrize(
    ("values", "logarithmic"), [([0.5, 4.9], False), ([0.5, 5.0], True), ([0.0, 5.0], False), ([-1.0, 50.0], False)]
)
def test_the_logarithm_is_taken_of_what_is_positive_and_ten_times_apart(values: list[float], logarithmic: bool) -> None:
    axis = axis_of(values, logarithmic=None)
    assert axis is not None
    assert axis.logarithmic == logarithmic


def test_without_a_number_there_is_no_axis() -> None:
    assert axis_of([]) is None
    assert axis_of([math.nan, math.inf]) is None
    assert axis_of([0.0, -1.0], logarithmic=True) is None


@pytest.mark.slow
@given(st.lists(st.floats(), min_size=1), st.sampled_from([True, False, None]))
@example([5e-324], True)
@example([1e-300, 1e299], None)
def test_an_axis_holds_all_values_and_no_two_labels_are_the_same(values: list[float], logarithmic: bool | None) -> None:
    axis = axis_of(values, logarithmic=logarithmic)
    if axis is None:
        return
    shares = [share for share in map(axis.share, values) if not math.isnan(share)]
    assert all(-0.002 <= share <= 1.002 for share in shares)
    assert 2 <= len(axis.ticks) <= 12
    assert len(set(axis.ticks.values())) == len(axis.ticks)
