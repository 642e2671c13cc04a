"""Charts: heights are the numbers, gaps are gaps, and odd input draws something honest."""

import math
import re
from xml.etree import ElementTree

import pytest

from aurora_cli.reports.charts import BOTTOM, HEIGHT, TOP, Bar, even_ticks, histogram, line_chart


def drawn(html):
    """The parsed image: it must be well formed."""
    return ElementTree.fromstring(html)


def bars_of(html):
    return [float(entry.attrib["height"]) for entry in drawn(html).iter("rect")]


def test_bars_are_as_high_as_their_numbers():
    html = histogram([Bar("a", 40, ""), Bar("b", 20, ""), Bar("c", 0, "")], name="n", axis="x")
    assert bars_of(html) == [HEIGHT - TOP - BOTTOM, pytest.approx((HEIGHT - TOP - BOTTOM) / 2), 0.0]


def test_one_among_millions_is_seen():
    html = histogram([Bar("a", 10_000_000, ""), Bar("b", 1, "")], name="n", axis="x")
    assert bars_of(html)[1] == 1.5
    assert "10 M" in [entry.text for entry in drawn(html).iter("text")]


@pytest.mark.parametrize("bars", [[], [Bar("a", 0, "")], [Bar("<b>", 1, '"&')]])
def test_few_or_odd_bars_still_draw(bars):
    assert drawn(histogram(bars, name="<n>", axis="<x>")).attrib["aria-label"] == "<n>"


def test_labels_are_thinned_and_marks_are_named():
    html = histogram([Bar(f"l{n}", n, "") for n in range(40)], name="n", axis="x", marks={"median": 20.0, "p95": 38.0})
    words = [entry.text for entry in drawn(html).iter("text")]
    assert 5 <= sum(bool(re.match(r"l\d", word or "")) for word in words) <= 9
    assert {"median", "p95"} <= set(words)


def test_a_curve_breaks_where_there_is_no_number():
    points = [(1.0, 2.0), (2.0, 4.0), (3.0, math.nan), (4.0, 1.0), (5.0, math.inf), (6.0, 3.0)]
    (path,) = drawn(line_chart({"loss": points}, name="n", axis="step")).iter("path")
    assert re.sub(r"[\d.,]+", "", path.attrib["d"]) == "MLMM"


def test_a_logarithmic_curve_is_straight_for_powers_and_breaks_at_zero():
    points = [(0.0, 1.0), (1.0, 10.0), (2.0, 100.0), (3.0, 0.0)]
    html = line_chart({"lr": points}, name="n", axis="step", logarithmic=True)
    (path,) = drawn(html).iter("path")
    heights = [float(y) for y in re.findall(r",([\d.]+)", path.attrib["d"])]
    assert len(heights) == 3
    assert heights[0] - heights[1] == pytest.approx(heights[1] - heights[2], abs=0.2)
    assert {"1", "10", "100"} <= {entry.text for entry in drawn(html).iter("text")}


def test_several_curves_are_named_and_coloured_apart():
    series = {"train": [(0.0, 1.0), (1.0, 0.5)], "<validation>": [(0.0, 1.1), (1.0, 0.7)]}
    html = line_chart(series, name="n", axis="step")
    assert len({entry.attrib["style"] for entry in drawn(html).iter("path")}) == 2
    assert set(series) <= {entry.text for entry in drawn(html).iter("text")}


@pytest.mark.parametrize("series", [{}, {"a": []}, {"a": [(1.0, math.nan)]}])
def test_nothing_to_draw_says_so(series):
    assert "nothing to draw" in line_chart(series, name="n", axis="x")


@pytest.mark.parametrize("points", [[(1.0, 5.0)], [(1.0, 5.0), (2.0, 5.0)], [(0.0, 0.0)], [(3.0, -1e9), (4.0, 1e9)]])
@pytest.mark.parametrize("logarithmic", [False, True])
def test_flat_and_single_points_draw(points, logarithmic):
    drawn(line_chart({"a": points}, name="n", axis="x", logarithmic=logarithmic))


@pytest.mark.parametrize(("low", "high"), [(0, 0), (0, 1), (0, 7), (0.001, 0.0011), (5, 5), (-3, 2), (1e9, 1e9 + 1)])
def test_ticks_span_the_numbers_and_are_few(low, high):
    ticks = even_ticks(low, high)
    assert ticks[0] <= low <= high <= ticks[-1]
    assert 2 <= len(ticks) <= 8


def test_a_large_number_fits_left_of_the_plot():
    html = line_chart({"tokens a second": [(1.0, 2_500.0), (2.0, 12_400.0)]}, name="n", axis="step")
    labels = [entry.text for entry in drawn(html).iter("text") if entry.attrib["text-anchor"] == "end"]
    assert labels == ["2500", "5000", "7500", "10 K", "12.5 K"]
