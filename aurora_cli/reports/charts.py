"""Charts of a report as SVG inside the page: a histogram, and curves over steps. Colours are the page's own.

Written by hand: matplotlib's SVG has its colours in every element, so it knows no dark mode, and no tooltips.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from markupsafe import Markup, escape

from aurora_cli.reports.axes import axis_of, even_ticks
from aurora_cli.reports.page import short

WIDTH, HEIGHT = 460.0, 220.0
LEFT, RIGHT, TOP, BOTTOM = 34.0, 10.0, 24.0, 42.0
"""Room around the plot; on the left at least, and more where the numbers of the axis are longer."""

CHARACTER, ASIDE = 8.6, 7.0
"""Width of a figure in the page's font, and between numbers and the plot."""

LABELS = 9
"""Labels along the horizontal axis at most."""

COLOURS = 6
"""Series that the page has colours for; more begin again."""

Point = tuple[float, float]


class Plot(NamedTuple):
    """Where the plot of a drawing is."""

    left: float
    width: float = WIDTH
    """Of the drawing."""

    @property
    def across(self) -> float:
        """Width of the plot alone."""
        return self.width - self.left - RIGHT


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
    labels = {tick: f"{tick:,.0f}" if top < 100_000 else short(round(tick)) for tick in ticks}
    plot = Plot(room_for(labels.values()))
    parts = grid(labels, 0.0, top, plot)
    step = plot.across / max(1, len(bars))
    gap = min(2.0, step * 0.2)
    floor = HEIGHT - BOTTOM
    every = math.ceil(len(bars) / LABELS)
    for index, bar in enumerate(bars):
        x, y = plot.left + index * step, vertical(bar.height, 0.0, top)
        if bar.height:
            y = min(y, floor - 1.5)  # a bar of few beside bars of many is still seen
        parts.append(
            f'<rect class="bar" x="{x + gap / 2:.1f}" y="{y:.1f}" width="{step - gap:.1f}" '
            f'height="{floor - y:.1f}"><title>{escape(bar.tip)}</title></rect>'
        )
        if index % every == 0:
            parts.append(below(x + step / 2, bar.label, plot))
    parts += [mark(plot.left + at * step, label, row) for row, (label, at) in enumerate((marks or {}).items())]
    return svg(name, axis, parts, plot)


def line_chart(
    series: Mapping[str, Sequence[Point]],
    *,
    name: str,
    axis: str,
    logarithmic: bool | None = False,
    width: float = WIDTH,
) -> Markup:
    """Curves of (x, y) points, a colour each, named above the plot when there are several. x are whole numbers.

    `logarithmic` None: where the values are far apart. A point that is no finite number breaks its curve; on a
    logarithmic scale so does one at or below 0.
    """
    finite = [(x, y) for points in series.values() for x, y in points if math.isfinite(x) and math.isfinite(y)]
    up = axis_of((y for _, y in finite), logarithmic=logarithmic)
    if up is None:
        return svg(name, axis, [text(width / 2, HEIGHT / 2, "nothing to draw")], Plot(LEFT, width))
    plot = Plot(room_for(up.ticks.values()), width)
    begin, end = min(x for x, _ in finite), max(x for x, _ in finite)

    def across(x: float) -> float:
        return plot.left + (x - begin) / max(end - begin, 1e-9) * plot.across

    parts = grid(up.ticks, up.low, up.high, plot)
    ticks = [tick for tick in even_ticks(begin, end, least=1.0) if begin <= tick <= end]
    parts += [below(across(tick), f"{tick:,.6g}", plot) for tick in ticks]
    for number, (key, points) in enumerate(series.items()):
        colour = f"var(--series-{number % COLOURS + 1})"
        heights = [(x, up.height(y)) for x, y in points]
        drawn = [
            (across(x), vertical(y, up.low, up.high)) if math.isfinite(x) and math.isfinite(y) else None
            for x, y in heights
        ]
        tip = f"<title>{escape(key)}</title>"
        parts.append(f'<path class="curve" style="stroke:{colour}" d="{outline(drawn)}">{tip}</path>')
        parts += [single(point, colour, tip) for point in alone(drawn)]
        if len(series) > 1:
            x = plot.left + number * plot.across / len(series)
            parts.append(f'<rect x="{x:.1f}" y="6" width="10" height="10" rx="2" style="fill:{colour}"/>')
            parts.append(text(x + 15, 15, key, anchor="start"))
    return svg(name, axis, parts, plot)


def room_for(labels: Iterable[str]) -> float:
    """Left of the plot, so that none of the labels is cut.

    >>> room_for(["5", "10"]), room_for(["12.5 K"])
    (34.0, 65.6)
    """
    longest = max(map(len, labels), default=0)
    return max(LEFT, round(longest * CHARACTER + ASIDE * 2, 1))


def alone(points: Sequence[Point | None]) -> list[Point]:
    """Those with no neighbour, which a curve does not show."""
    padded = [None, *points, None]
    return [
        point
        for before, point, after in zip(padded, padded[1:], padded[2:], strict=False)
        if point is not None and before is None and after is None
    ]


def single(point: Point, colour: str, tip: str) -> str:
    return f'<circle cx="{point[0]:.1f}" cy="{point[1]:.1f}" r="2.5" style="fill:{colour}">{tip}</circle>'


def outline(points: Iterable[tuple[float, float] | None]) -> str:
    """A path through points of the drawing; none lifts the pen."""
    steps, drawing = [], False
    for point in points:
        if point is not None:
            steps.append(f"{'L' if drawing else 'M'}{point[0]:.1f},{point[1]:.1f}")
        drawing = point is not None
    return "".join(steps)


def vertical(value: float, low: float, high: float) -> float:
    return HEIGHT - BOTTOM - (value - low) / ((high - low) or 1.0) * (HEIGHT - TOP - BOTTOM)


def grid(ticks: Mapping[float, str], low: float, high: float, plot: Plot) -> list[str]:
    parts = []
    for tick, label in ticks.items():
        y = vertical(tick, low, high)
        parts.append(f'<line class="grid" x1="{plot.left}" x2="{plot.width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(text(plot.left - ASIDE, y + 4, label, anchor="end"))
    return parts


def below(x: float, label: str, plot: Plot) -> str:
    """A label of the horizontal axis, whole where it is the last one too."""
    half = len(label) * CHARACTER / 2
    return text(min(x, plot.width - half), HEIGHT - BOTTOM + 16, label)


def mark(x: float, label: str, row: int) -> str:
    """A dashed line; its name at the side that has room, in a row of its own."""
    anchor, aside = ("end", -5) if x > WIDTH * 0.7 else ("start", 5)
    line = f'<line class="mark-line" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 12}" y2="{HEIGHT - BOTTOM}"/>'
    return line + text(x + aside, TOP - 4 + row * 15, label, anchor=anchor, kind="mark-text")


def text(x: float, y: float, words: str, *, anchor: str = "middle", kind: str = "") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'


def svg(name: str, axis: str, parts: Iterable[str], plot: Plot) -> Markup:
    what = text((plot.left + plot.width - RIGHT) / 2, HEIGHT - 6, axis)
    head = f'<svg viewBox="0 0 {plot.width:.0f} {HEIGHT:.0f}" role="img" aria-label="{escape(name)}">'
    return Markup("\n".join((head, *parts, what, "</svg>")))
