"""Charts of a report as SVG inside the page: a histogram, and curves over steps. Colours are the page's own.

Written by hand: matplotlib's SVG has its colours in every element, so it knows no dark mode, and no tooltips.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from aurora_cli.reports.page import short

WIDTH, HEIGHT = 520.0, 230.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 10.0, 24.0, 42.0
"""Room for the labels around the plot."""

LABELS = 9
"""Labels along the horizontal axis at most."""

COLOURS = 4
"""Series that the page has colours for; more begin again."""

Point = tuple[float, float]


class Bar(NamedTuple):
    """One bar of a histogram."""

    label: str
    height: int
    tip: str
    """What the browser shows when the mouse rests on it."""


def histogram(bars: Sequence[Bar], *, name: str, axis: str, marks: Mapping[str, float] | None = None) -> Markup:
    """Counts as bars. `marks` are vertical lines with a name, at positions counted in bars from the left."""
    ticks = even_ticks(0.0, max((bar.height for bar in bars), default=0), least=1.0)
    top = ticks[-1]
    parts = grid({tick: f"{tick:,.0f}" if top < 100_000 else short(round(tick)) for tick in ticks}, 0.0, top)
    step = (WIDTH - LEFT - RIGHT) / max(1, len(bars))
    gap = min(2.0, step * 0.2)
    floor = HEIGHT - BOTTOM
    every = math.ceil(len(bars) / LABELS)
    for index, bar in enumerate(bars):
        x, y = LEFT + index * step, vertical(bar.height, 0.0, top)
        if bar.height:
            y = min(y, floor - 1.5)  # a bar of few beside bars of many is still seen
        parts.append(
            f'<rect class="bar" x="{x + gap / 2:.1f}" y="{y:.1f}" width="{step - gap:.1f}" '
            f'height="{floor - y:.1f}"><title>{escape(bar.tip)}</title></rect>'
        )
        if index % every == 0:
            parts.append(text(x + step / 2, floor + 16, bar.label))
    parts += [mark(LEFT + at * step, label, row) for row, (label, at) in enumerate((marks or {}).items())]
    return svg(name, axis, parts)


def line_chart(series: Mapping[str, Sequence[Point]], *, name: str, axis: str, logarithmic: bool = False) -> Markup:
    """Curves of (x, y) points, a colour each, named above the plot when there are several.

    A point that is no finite number breaks its curve; on a logarithmic scale so does one at or below 0.
    """
    curves = {key: [(x, height_of(y, logarithmic)) for x, y in points] for key, points in series.items()}
    finite = [point for points in curves.values() for point in points if all(map(math.isfinite, point))]
    if not finite:
        return svg(name, axis, [text(WIDTH / 2, HEIGHT / 2, "nothing to draw")])
    xs, ys = zip(*finite, strict=True)
    across = even_ticks(min(xs), max(xs))
    low, high = min(ys), max(ys)
    up = power_ticks(low, high) if logarithmic else {tick: label_of(tick) for tick in even_ticks(low, high)}
    low, high = min(low, *up), max(high, *up)
    left, right = min(xs), max(max(xs), min(xs) + 1e-9)
    parts = grid(up, low, high)
    for tick in across:
        if left <= tick <= right:
            parts.append(text(horizontal(tick, left, right), HEIGHT - BOTTOM + 16, f"{tick:,.6g}"))
    for number, (key, points) in enumerate(curves.items()):
        colour = f"var(--series-{number % COLOURS + 1})"
        drawn = [
            (horizontal(x, left, right), vertical(y, low, high)) if math.isfinite(x) and math.isfinite(y) else None
            for x, y in points
        ]
        tip = f"<title>{escape(key)}</title>"
        parts.append(f'<path class="curve" style="stroke:{colour}" d="{outline(drawn)}">{tip}</path>')
        if len(curves) > 1:
            x = LEFT + number * (WIDTH - LEFT - RIGHT) / len(curves)
            parts.append(f'<rect x="{x:.1f}" y="6" width="10" height="10" rx="2" style="fill:{colour}"/>')
            parts.append(text(x + 15, 15, key, anchor="start"))
    return svg(name, axis, parts)


def height_of(value: float, logarithmic: bool) -> float:
    if not logarithmic:
        return value
    return math.log10(value) if value > 0 and math.isfinite(value) else math.nan


def outline(points: Iterable[tuple[float, float] | None]) -> str:
    """A path through points of the drawing; none lifts the pen."""
    steps, drawing = [], False
    for point in points:
        if point is not None:
            steps.append(f"{'L' if drawing else 'M'}{point[0]:.1f},{point[1]:.1f}")
        drawing = point is not None
    return "".join(steps)


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
    """Round numbers between two powers of ten, by their logarithm: 1, 10, 100 or, when they are near, 1, 2, 5, 10.

    >>> power_ticks(-2.0, 1.0), power_ticks(0.1, 0.8)
    ({-2: '0.01', -1: '0.1', 0: '1', 1: '10'}, {0.0: '1', 0.301: '2', 0.699: '5', 1.0: '10'})
    """
    first, last = math.floor(low + 1e-9), max(math.floor(low) + 1, math.ceil(high - 1e-9))
    if last - first > 1:
        return {power: f"{10.0**power:g}" for power in range(first, last + 1, math.ceil((last - first) / 6))}
    return {round(first + math.log10(part), 3): f"{10.0**first * part:g}" for part in (1, 2, 5, 10)}


def label_of(tick: float) -> str:
    """A number of the vertical axis, in the room that is left of the plot.

    >>> label_of(0.0015), label_of(12_500.0), label_of(-2e6)
    ('0.0015', '12.5 K', '-2 M')
    """
    if abs(tick) < 10_000:
        return f"{tick:.4g}"
    return "-" * (tick < 0) + short(round(abs(tick)))


def horizontal(value: float, low: float, high: float) -> float:
    return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)


def vertical(value: float, low: float, high: float) -> float:
    return HEIGHT - BOTTOM - (value - low) / ((high - low) or 1.0) * (HEIGHT - TOP - BOTTOM)


def grid(ticks: Mapping[float, str], low: float, high: float) -> list[str]:
    parts = []
    for tick, label in ticks.items():
        y = vertical(tick, low, high)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(text(LEFT - 7, y + 4, label, anchor="end"))
    return parts


def mark(x: float, label: str, row: int) -> str:
    """A dashed line; its name at the side that has room, in a row of its own."""
    anchor, aside = ("end", -5) if x > WIDTH * 0.7 else ("start", 5)
    line = f'<line class="mark-line" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 12}" y2="{HEIGHT - BOTTOM}"/>'
    return line + text(x + aside, TOP - 4 + row * 15, label, anchor=anchor, kind="mark-text")


def text(x: float, y: float, words: str, *, anchor: str = "middle", kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def svg(name: str, axis: str, parts: Iterable[str]) -> Markup:
    below = text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 6, axis)
    head = f'<svg viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="{escape(name)}">'
    return Markup("\n".join((head, *parts, below, "</svg>")))
