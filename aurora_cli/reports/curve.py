"""The curve of an evaluation: a score by visual tokens, with intervals; drawn for a page, or as a file of its own."""

import re
from collections.abc import Sequence

from markupsafe import Markup, escape

from aurora_cli.evaluation.stored import CurvePoint, Value
from aurora_cli.reports.axes import axis_of, even_ticks
from aurora_cli.reports.charts import (
    COLOURS,
    HEIGHT,
    LEFT,
    WIDTH,
    Plot,
    below,
    grid,
    outline,
    room_for,
    single,
    svg,
    text,
    vertical,
)
from aurora_cli.reports.page import environment

STYLE = "font-family: system-ui, sans-serif; background: var(--card)"


def curve_chart(points: Sequence[CurvePoint], metric: str, *, width: float = WIDTH) -> Markup:
    """A curve for each number of frames; across are the visual tokens of a frame, of a medium where frames differ."""
    by_frames: dict[int, list[CurvePoint]] = {}
    for point in points:
        if metric in point.metrics:
            by_frames.setdefault(point.frames, []).append(point)
    is_by_medium = len(by_frames) > 1
    axis = "visual tokens a medium" if is_by_medium else "visual tokens a frame"
    name = f"{metric} by {axis}"

    def tokens_of(point: CurvePoint) -> float:
        return point.cost.visual_tokens if is_by_medium else point.cost.tokens_per_frame

    shown = [point for each in by_frames.values() for point in each]
    up = axis_of(end for point in shown for end in _ends(point.metrics[metric]))
    if up is None:
        return svg(name, axis, [text(width / 2, HEIGHT / 2, "nothing to draw")], Plot(LEFT, width))
    plot = Plot(room_for(up.ticks.values()), width)
    ticks = even_ticks(0.0, max(map(tokens_of, shown)), least=1.0)
    parts = grid(up.ticks, up.low, up.high, plot)

    def across(tokens: float) -> float:
        return plot.left + tokens / ticks[-1] * plot.across

    parts += [below(across(tick), f"{tick:,.6g}", plot) for tick in ticks]
    for number, (frames, of_frames) in enumerate(by_frames.items()):
        colour = f"var(--series-{number % COLOURS + 1})"
        of_frames.sort(key=tokens_of)
        drawn = []
        for point in of_frames:
            value = point.metrics[metric]
            x, (low, y, high) = across(tokens_of(point)), [vertical(end, up.low, up.high) for end in _ends(value)]
            drawn.append((x, y))
            tip = f"<title>{escape(_words(point, value))}</title>"
            parts.append(
                f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"'
                f' style="stroke:{colour}">{tip}</line>'
            )
            parts.append(single((x, y), colour, tip))
        parts.append(f'<path class="curve" style="stroke:{colour}" d="{outline(drawn)}"/>')
        if is_by_medium:
            x = plot.left + number * plot.across / len(by_frames)
            parts.append(f'<rect x="{x:.1f}" y="6" width="10" height="10" rx="2" style="fill:{colour}"/>')
            parts.append(text(x + 15, 15, f"{metric}, {frames} frames", anchor="start"))
        else:
            parts.append(text(plot.left, 15, metric, anchor="start"))
    return svg(name, axis, parts, plot)


def standalone(drawing: Markup) -> str:
    """A drawing of a page as a file that any program shows, in the page's light colours.

    Viewers that are no browsers know no variables of CSS: their values stand in their places.
    """
    style = environment().get_template("chart.css").render()
    light, _, rest = style.partition("@media")
    colours = dict(re.findall(r"(--[\w-]+): (#\w+)", light))
    rules = "\n".join(line for line in rest.splitlines() if line.startswith("svg "))
    head, _, body = drawing.removeprefix("<svg ").partition(">")
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" style="{STYLE}" {head}>'
    whole = f"{opening}<style>\n{rules}\n</style>{body}\n"
    return re.sub(r"var\((--[\w-]+)\)", lambda found: colours[found[1]], whole)


def _ends(value: Value) -> tuple[float, float, float]:
    """Low, middle, high; of a score without interval all the same."""
    low, high = (value.value if end is None else end for end in (value.low, value.high))
    return low, value.value, high


def _words(point: CurvePoint, value: Value) -> str:
    low, middle, high = _ends(value)
    return f"kept ratio {point.token_kept_ratio:g}, {point.frames} frames: {middle:.4f} ({low:.4f} to {high:.4f})"
