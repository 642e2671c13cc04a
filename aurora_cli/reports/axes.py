"""Axes of curves, in a page or a terminal: from where to where, and which round numbers stand beside them."""

import math
from collections.abc import Iterable
from typing import NamedTuple

from aurora_cli.reports.page import short

FLAT = 0.01
"""Values that differ by less, as a share of the largest, are drawn over an axis from 0: their noise is none of it."""

WIDE = 10.0
"""Positive values whose largest is so many times the smallest are seen better by their logarithm."""

HIGHEST = 1e300
"""What is higher is drawn as little as what is infinite: sums with it are."""

LOWEST = 1e-300
"""What is lower stands on a logarithmic axis as little as 0: round numbers around it may not be told from 0."""

ROUND = (1, 2, 5)
"""First figures of a logarithmic axis."""


class Axis(NamedTuple):
    """A vertical axis."""

    ticks: dict[float, str]
    """Height -> the number that stands there. On a logarithmic axis a height is log10 of its value."""
    low: float
    high: float
    logarithmic: bool

    def height(self, value: float) -> float:
        """Of a value; not a number where it has none: infinite, or on a logarithmic axis below `LOWEST`."""
        if not _is_drawn(value) or (self.logarithmic and value < LOWEST):
            return math.nan
        return math.log10(value) if self.logarithmic else value

    def share(self, value: float) -> float:
        """How far up a value is: 0 at the lower end, 1 at the upper.

        >>> axis_of([0.0, 4.0]).share(1.0), axis_of([1.0, 100.0], logarithmic=True).share(10.0)
        (0.25, 0.5)
        """
        return (self.height(value) - self.low) / (self.high - self.low)


def axis_of(values: Iterable[float], *, logarithmic: bool | None = False) -> Axis | None:
    """The axis that holds the values; `logarithmic` None: where they are far apart. None: no value has a height.

    >>> axis_of([1.0, 1.0001]).ticks
    {0.0: '0', 0.5: '0.5', 1.0: '1', 1.5: '1.5'}
    """
    finite = [value for value in values if _is_drawn(value)]
    if logarithmic is None:
        logarithmic = bool(finite) and min(finite) >= LOWEST and max(finite) >= WIDE * min(finite)
    heights = [math.log10(value) for value in finite if value >= LOWEST] if logarithmic else finite
    if not heights:
        return None
    low, high = min(heights), max(heights)
    if logarithmic:
        ticks = power_ticks(low, high)
    else:
        if high - low <= FLAT * max(abs(low), abs(high)):
            low, high = min(low, 0.0), max(high, 0.0) or float(low == 0.0)
        ticks = {tick: label_of(tick) for tick in even_ticks(low, high)}
    return Axis(ticks, min(ticks), max(ticks), logarithmic)


def _is_drawn(value: float) -> bool:
    return abs(value) < HIGHEST  # so no NaN is


def even_ticks(low: float, high: float, *, least: float = 0.0) -> list[float]:
    """Four or so round numbers that span from `low` or below to `high` or above, at least `least` apart.

    >>> even_ticks(0, 870), even_ticks(0, 1, least=1), even_ticks(0.2, 0.9)
    ([0.0, 250.0, 500.0, 750.0, 1000.0], [0.0, 1.0], [0.2, 0.4, 0.6, 0.8, 1.0])
    """
    rough = max((high - low) / 4, abs(high) * 1e-3, least, 1e-12)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(step * power for step in (1.0, 2.0, 2.5, 5.0, 10.0) if step * power >= rough * (1 - 1e-9))
    if least and step % least:
        step = math.ceil(step)
    first = math.floor(low / step + 1e-9)
    last = max(first + 1, math.ceil(high / step - 1e-9))
    return [round(number * step, 12) for number in range(first, last + 1)]


def power_ticks(low: float, high: float) -> dict[float, str]:
    """Round numbers from `low` or below to `high` or above, by their logarithm: 1, 2, 5, 10, 20.

    Of ends that are more than two powers of ten apart, powers alone stand between them.

    >>> power_ticks(-2.0, 1.0), power_ticks(0.1, 0.8)
    ({-2.0: '0.01', -1.0: '0.1', 0.0: '1', 1.0: '10'}, {0.0: '1', 0.301: '2', 0.699: '5', 1.0: '10'})
    >>> list(power_ticks(-1.2, 1.6).values()), list(power_ticks(0.699, 0.699).values())
    (['0.05', '0.1', '1', '10', '50'], ['2', '5', '10'])
    """
    every = [(round(power + math.log10(part), 3), power, part) for power in _powers(low, high) for part in ROUND]
    first = max(index for index, (at, _, _) in enumerate(every) if at <= low + 1e-3)
    last = min(index for index, (at, _, _) in enumerate(every) if at >= high - 1e-3)
    if first == last:
        first, last = first - 1, last + 1
    shown = every[first : last + 1]
    if high - low > 2:
        step = math.ceil((high - low) / 6)
        inner = [one for one in shown[1:-1] if one[2] == 1 and one[1] % step == 0]
        shown = [shown[0], *inner, shown[-1]]
    return {at: f"{10.0**power * part:g}" for at, power, part in shown}


def _powers(low: float, high: float) -> range:
    return range(math.floor(low) - 1, math.ceil(high) + 2)


def label_of(tick: float) -> str:
    """A number of the vertical axis in few characters.

    >>> label_of(0.0015), label_of(12_500.0), label_of(-2e6)
    ('0.0015', '12.5 K', '-2 M')
    """
    if abs(tick) < 10_000:
        return f"{tick:.4g}"
    return "-" * (tick < 0) + short(round(abs(tick)))
