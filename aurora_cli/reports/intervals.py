"""A score with its interval as a drawing that stands in a row of a table: a line for the scale, a bar, a dot."""

from markupsafe import Markup

WIDTH, HEIGHT = 220.0, 20.0
ASIDE = 6.0
"""Room at both ends, for a dot that lies there."""


def interval_bar(
    value: float, low: float | None, high: float | None, scale: tuple[float, float], *, kind: str = ""
) -> Markup:
    """`kind`: the class of its colour. A scale that goes through 0 has a mark there; what lies beyond an end is drawn
    at it."""

    def across(number: float) -> float:
        share = (number - scale[0]) / ((scale[1] - scale[0]) or 1.0)
        return ASIDE + min(1.0, max(0.0, share)) * (WIDTH - 2 * ASIDE)

    middle = HEIGHT / 2
    parts = [f'<line class="grid" x1="{ASIDE}" x2="{WIDTH - ASIDE}" y1="{middle}" y2="{middle}"/>']
    if scale[0] < 0 < scale[1]:
        parts.append(f'<line class="zero" x1="{across(0):.1f}" x2="{across(0):.1f}" y1="2" y2="{HEIGHT - 2}"/>')
    if low is not None and high is not None:
        begin, width = across(low), max(1.0, across(high) - across(low))
        parts.append(f'<rect class="range" x="{begin:.1f}" y="{middle - 4}" width="{width:.1f}" height="8" rx="4"/>')
    parts.append(f'<circle class="value" cx="{across(value):.1f}" cy="{middle}" r="4.5"/>')
    head = f'<svg class="interval {kind}" viewBox="0 0 {WIDTH:.0f} {HEIGHT:.0f}" aria-hidden="true">'
    return Markup("".join([head, *parts, "</svg>"]))
