"""The curve as a table for a terminal, and the sentence that it comes to."""

import io
import shutil
from collections.abc import Sequence

from aurora_cli.evaluation.stored import CurvePoint, Enough, Value

SHOWN = ("vdc_score", "vdc_accuracy", "cider", "meteor", "rouge_l", "bleu_4")
"""Scores that have a column; where none of these was computed, all have."""

WIDTH = 120
"""Of the table, where there is no terminal to ask."""


def curve_table(curve: Sequence[CurvePoint]) -> list[str]:
    """A row a point: its scores, below each its interval, and what a medium costs."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    metrics = [name for name in SHOWN if name in curve[0].metrics] or [*curve[0].metrics]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    names = ("kept ratio", "frames", "tokens a frame", *metrics, "prefill ms", "decode ms", "memory MB")
    for name in names:
        table.add_column(name, justify="right", min_width=len("0.000-1.000") if name in metrics else None)
    for point in curve:
        cost = point.cost
        table.add_row(
            f"{point.token_kept_ratio:g}",
            str(point.frames),
            f"{cost.tokens_per_frame:,.1f}",
            *(_shown(point.metrics[name]) for name in metrics),
            *(_in_ms(seconds) for seconds in (cost.prefill_s, cost.decode_s)),
            "-" if cost.peak_memory_mb is None else f"{cost.peak_memory_mb:,.0f}",
        )
    text = io.StringIO()
    width = shutil.get_terminal_size((WIDTH, 0)).columns
    Console(file=text, width=width, color_system=None, force_terminal=False).print(table)
    return [line.rstrip() for line in text.getvalue().splitlines() if line.strip()]


def enough_lines(curve: Sequence[CurvePoint], enough: Enough | None) -> list[str]:
    """Which point needs the fewest tokens for as good a score."""
    if enough is None:
        return []
    point, best = curve[enough.point], curve[enough.best]
    fewest = f"Fewest tokens by {enough.metric}: {point.cost.tokens_per_frame:,.1f} a frame ({_named(point)})"
    if enough.point == enough.best:
        return [f"{fewest}: the best score, and none with fewer tokens is within its interval"]
    score = best.metrics[enough.metric]
    return [f"{fewest}, within the interval of the best ({_named(best)}: {' '.join(_shown(score).splitlines())})"]


def _named(point: CurvePoint) -> str:
    return f"kept ratio {point.token_kept_ratio:g}, {point.frames} frames"


def _shown(value: Value) -> str:
    """
    >>> _shown(Value(value=0.5, low=0.25, high=0.75)).splitlines(), _shown(Value(value=12.0))
    (['0.500', '0.250-0.750'], '12.000')
    """
    interval = "" if value.low is None or value.high is None else f"\n{value.low:.3f}-{value.high:.3f}"
    return f"{value.value:.3f}{interval}"


def _in_ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:,.1f}"
