"""Pages of HTML from `templates/`: one self-contained file, without scripts, that fetches nothing. Light and dark.

Templates lay out, Python counts and words. Whatever is not `Markup` is text, and is escaped where it goes in.
"""

import base64
import re
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

UNHOLDABLE = re.compile("[\0-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""What HTML cannot hold: NUL and its like, half a surrogate pair."""


class Fact(NamedTuple):
    """A number that stands out."""

    name: str
    value: str
    note: str = ""


class Chart(NamedTuple):
    """A drawing of `reports/charts.py` under its heading."""

    heading: str
    drawing: Markup
    note: str = ""


@dataclass(frozen=True)
class Page:
    """What the layout of every page shows; a subclass adds what its own template does."""

    title: str
    lead: str
    """Below the title."""
    foot: str
    """What wrote the page."""


def render(template: str, page: Page) -> str:
    """The whole file. Characters that HTML cannot hold become U+FFFD."""
    return UNHOLDABLE.sub("\ufffd", environment().get_template(template).render(page=page))


@cache
def environment() -> Environment:
    """Escapes everything that is not `Markup`, and fails on a name that a page does not have."""
    found = Environment(
        loader=PackageLoader("aurora_cli.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["commas"] = "{:,}".format
    found.filters["base64"] = lambda content: base64.b64encode(content).decode("ascii")  # pyrefly: ignore[bad-argument-type]
    return found


def short(number: int) -> str:
    """
    >>> short(999), short(12_345), short(4_200_000_000)
    ('999', '12.3 K', '4.2 G')
    """
    for power, unit in ((9, "G"), (6, "M"), (3, "K")):
        if number >= 10**power:
            return f"{number / 10**power:.3g} {unit}"
    return str(number)
