"""Curves in a terminal: training as a line of braille dots, validation as a mark a point.

A character of braille holds 2 x 4 dots, so 80 columns show 150 points. Where the encoding has none, a cell is a star.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.text import Text

from aurora_cli.reports.axes import Axis, axis_of
from aurora_cli.reports.charts import Point

ACROSS, UP = 2, 4
"""Dots of a cell."""

DOTS = ((0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08))
"""Braille's bits by column and height from below."""

LEAST_COLUMNS = 10

TRAINING, VALIDATION, AXIS = "cyan", "magenta", "dim"
"""Styles."""

OTHERS = ("green", "yellow", "blue", "red", "white")
"""Styles of further lines of training; more begin again."""


class Marks(NamedTuple):
    """The characters of a chart."""

    point: str
    """Of validation."""
    tick: str
    wall: str
    corner: str
    floor: str


PLAIN, DRAWN = Marks("o", "+", "|", "+", "-"), Marks("●", "┤", "│", "└", "─")


def chart(
    training: Sequence[Point],
    validation: Sequence[Point],
    width: int,
    rows: int,
    *,
    ascii_only: bool,
    others: Sequence[Sequence[Point]] = (),
) -> list[Text]:
    """`rows` lines of curves over steps, and one that names the first and the last step; none where nothing fits.
    `others` are lines beside that of training, in styles of their own."""
    everything = [point for points in (training, *others, validation) for point in points]
    axis = axis_of((value for _, value in everything), logarithmic=None)
    if axis is None or rows < 2:
        return []
    labels = _labels(axis, rows)
    left = max(map(len, labels.values()))
    columns = width - left - 2
    if columns < LEAST_COLUMNS:
        return []
    marks = PLAIN if ascii_only else DRAWN
    first, last = _ends([step for step, _ in everything])
    canvas = _Canvas(columns, rows)
    for number, points in enumerate((training, *others)):
        style = OTHERS[(number - 1) % len(OTHERS)] if number else TRAINING
        canvas.line([_at(axis, point, first, last) for point in points], style)
    points = {canvas.cell(at) for at in (_at(axis, point, first, last) for point in validation) if at is not None}
    lines = []
    for row in range(rows):
        line = Text(no_wrap=True)
        line.append(f"{labels.get(row, ''):>{left}} {marks.tick if row in labels else marks.wall}", AXIS)
        measured = sorted(column for column, its_row in points if its_row == row)
        for begin, end in itertools.pairwise((-1, *measured, columns)):
            if begin >= 0:
                line.append(marks.point, VALIDATION)
            line.append_text(canvas.characters(row, begin + 1, end, ascii_only=ascii_only))
        lines.append(line)
    begin, end = f"step {first:,.0f}", f"{last:,.0f}"
    between = marks.floor * max(1, columns - len(begin) - len(end) - 2)
    words = f"{begin} {between} {end}" if first < last else begin
    if len(words) > columns:  # the last step says more than the first
        words = end if len(end) <= columns else ""
    return [*lines, Text(f"{'':>{left}} {marks.corner}{words}", AXIS, no_wrap=True)]


def _ends(steps: Sequence[float]) -> tuple[float, float]:
    return min(steps), max(steps)


def _at(axis: Axis, point: Point, first: float, last: float) -> Point | None:
    """Where a point is, as shares of the width from the left and of the height from below."""
    step, value = point
    height = axis.share(value)
    return None if math.isnan(height) else ((step - first) / ((last - first) or 1.0), height)


def _labels(axis: Axis, rows: int) -> dict[int, str]:
    """Row from above -> the number that stands there: at both ends, and between them where a row is free around it."""
    labels = {rows - 1: axis.ticks[axis.low], 0: axis.ticks[axis.high]}
    first = sorted(axis.ticks, key=lambda height: axis.logarithmic and height != round(height))
    for height in first:
        row = round((1 - (height - axis.low) / (axis.high - axis.low)) * (rows - 1))
        if not {row - 1, row, row + 1} & labels.keys():
            labels[row] = axis.ticks[height]
    return labels


class _Canvas:
    """Dots by cell."""

    def __init__(self, columns: int, rows: int) -> None:
        self._columns, self._rows = columns, rows
        self._bits: dict[tuple[int, int], int] = {}
        self._styles: dict[tuple[int, int], str] = {}

    def _dot(self, at: Point) -> tuple[int, int]:
        """Column from the left and height from below."""
        return round(at[0] * (self._columns * ACROSS - 1)), round(at[1] * (self._rows * UP - 1))

    def cell(self, at: Point) -> tuple[int, int]:
        """Column, and row from above."""
        x, y = self._dot(at)
        return x // ACROSS, self._rows - 1 - y // UP

    def line(self, points: Sequence[Point | None], style: str) -> None:
        """Through the points, or through the mean of those above one dot; none breaks it."""
        before: tuple[int, int] | None = None
        for point in self._means(points):
            now = None if point is None else self._dot(point)
            if now is not None:
                x, y = before or now
                steps = max(abs(now[0] - x), abs(now[1] - y), 1)
                for part in range(steps + 1):
                    self._set(x + round((now[0] - x) * part / steps), y + round((now[1] - y) * part / steps), style)
            before = now

    def _means(self, points: Sequence[Point | None]) -> Iterator[Point | None]:
        width = self._columns * ACROSS - 1
        for column, group in itertools.groupby(
            points, lambda point: None if point is None else round(point[0] * width)
        ):
            heights = [point[1] for point in group if point is not None]
            yield None if column is None else (column / width, sum(heights) / len(heights))

    def _set(self, x: int, y: int, style: str) -> None:
        cell = (x // ACROSS, self._rows - 1 - y // UP)
        self._styles[cell] = style
        self._bits[cell] = self._bits.get(cell, 0) | DOTS[x % ACROSS][y % UP]

    def characters(self, row: int, begin: int, end: int, *, ascii_only: bool) -> Text:
        """Those of a row's columns from `begin` to before `end`, each in the style of the last line through it."""
        text = Text(no_wrap=True)
        cells = [(self._bits.get((column, row), 0), self._styles.get((column, row))) for column in range(begin, end)]
        for style, alike in itertools.groupby(cells, lambda cell: cell[1] or TRAINING):
            text.append(
                "".join(" " if not bits else "*" if ascii_only else chr(0x2800 + bits) for bits, _ in alike), style
            )
        return text
