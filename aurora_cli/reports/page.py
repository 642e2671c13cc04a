"""Pieces of a report: one self-contained HTML file, without scripts, that fetches nothing. Light and dark.

Whatever is not `Html` is text, and is escaped where it goes in.
"""

import base64
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #faf9f7; --card: #ffffff; --ink: #21201d; --muted: #6d6a63; --line: #e3e0d9;
  --accent: #2f6f9f; --taught: #d8efdc; --taught-line: #4d9a61; --bad: #b3372d; --good: #2f7d4a;
  --series-1: #2f6f9f; --series-2: #b8641f; --series-3: #4d9a61; --series-4: #8a4f9e;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #191917; --card: #222220; --ink: #e9e7e1; --muted: #a09c92; --line: #3a3935;
    --accent: #79b4dc; --taught: #22452d; --taught-line: #6fbd84; --bad: #ee8a80; --good: #7fcb97;
    --series-1: #79b4dc; --series-2: #e5a063; --series-3: #7fcb97; --series-4: #c99adb;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 2.5rem 1.5rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .75rem; }
h3 { font-size: .95rem; margin: 0; font-weight: 600; }
.lead, .note, figcaption { color: var(--muted); margin: 0; overflow-wrap: anywhere; }
.note { font-size: .87rem; margin: .25rem 0 .75rem; }
.warning { color: var(--bad); font-weight: 600; margin: .75rem 0 0; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 1rem 1.1rem;
  min-width: 0; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(10rem, 1fr)); gap: .75rem; margin: 1.5rem 0 0; }
.facts .card { display: flex; flex-direction: column; }
.facts dt { color: var(--muted); font-size: .83rem; }
.facts dd { margin: 0; font-size: 1.4rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
.facts dd.note { font-size: .83rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); gap: .75rem; }
.charts figure { margin: 0; }
.charts figcaption { font-size: .87rem; margin: .1rem 0 .5rem; }
.scroll { overflow-x: auto; padding: .25rem 1.1rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th { text-align: left; color: var(--muted); font-weight: 500; font-size: .83rem; }
th, td { padding: .45rem .9rem .45rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th:last-child, td:last-child { padding-right: 0; }
tr:last-child td { border-bottom: 0; }
td { overflow-wrap: anywhere; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code { font: .85em ui-monospace, "DejaVu Sans Mono", monospace; }
article { margin: 0 0 .75rem; }
article header { display: flex; flex-wrap: wrap; gap: .1rem 1rem; align-items: baseline; margin-bottom: .6rem; }
article header .note { margin: 0; }
.text { white-space: pre-wrap; overflow-wrap: anywhere; max-height: 26rem; overflow-y: auto; margin: 0; }
mark { background: var(--taught); color: inherit; border-bottom: 2px solid var(--taught-line); padding: .08em .1em; }
.chip { font-size: .8em; border: 1px solid var(--line); border-radius: 4px; padding: 0 .35em; white-space: nowrap;
  color: var(--muted); }
.good { color: var(--good); }
.bad { color: var(--bad); }
.images { display: flex; flex-wrap: wrap; gap: .75rem; margin: 0 0 .75rem; }
.images figure { margin: 0; width: 9rem; font-size: .8rem; line-height: 1.35; }
.images img, .images .blank { display: block; width: 9rem; height: 9rem; border-radius: 5px; margin-bottom: .3rem;
  border: 1px solid var(--line); }
.images .blank { display: grid; place-items: center; color: var(--muted); border: 1px dashed var(--muted);
  padding: .5rem; text-align: center; overflow: hidden; overflow-wrap: anywhere; }
details { margin-top: .7rem; font-size: .87rem; color: var(--muted); }
summary { cursor: pointer; }
details code { display: block; overflow-wrap: anywhere; margin-top: .4rem; max-height: 16rem; overflow-y: auto; }
svg { display: block; width: 100%; height: auto; }
svg text { fill: var(--muted); font-size: 12px; font-family: inherit; }
svg .grid { stroke: var(--line); stroke-width: 1; }
svg .bar { fill: var(--accent); }
svg .mark-line { stroke: var(--ink); stroke-width: 1.2; stroke-dasharray: 4 3; }
svg .mark-text { fill: var(--ink); }
svg .curve { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
footer { color: var(--muted); font-size: .83rem; margin-top: 3rem; border-top: 1px solid var(--line);
  padding-top: .8rem; }
@media print { body { background: none; } .card { break-inside: avoid; } .text { max-height: none; } }
"""

FETCHES_NOTHING = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""The content security policy: even if some text got past the escaping, a browser would fetch and run nothing."""


class Html(str):
    """Markup that is done: it goes in as it is."""

    __slots__ = ()


Text = str | Html


def safe(text: Text) -> Html:
    """Markup as it is; anything else escaped. What HTML cannot hold (NUL, half a surrogate pair) becomes U+FFFD.

    >>> safe("<b> & NUL \\0"), safe(Html("<br>"))
    ('&lt;b&gt; &amp; NUL \ufffd', '<br>')
    """
    if isinstance(text, Html):
        return text
    held = "".join(mark if holdable(mark) else "\ufffd" for mark in text) if not text.isprintable() else text
    return Html(escape(held))


def holdable(mark: str) -> bool:
    return mark in "\n\t" or not (mark < " " or "\x7f" <= mark <= "\x9f" or "\ud800" <= mark <= "\udfff")


def joined(parts: Iterable[Text], between: str = "\n") -> Html:
    return Html(between.join(map(safe, parts)))


def element(name: str, *parts: Text, kind: str = "", **attributes: str) -> Html:
    """`<name class="kind" ...>parts</name>`.

    >>> element("p", "1 < 2", kind="note")
    '<p class="note">1 &lt; 2</p>'
    """
    named = {"class": kind, **attributes} if kind else attributes
    inside = "".join(f' {key}="{safe(value)}"' for key, value in named.items())
    return Html(f"<{name}{inside}>{joined(parts, '')}</{name}>")


def short(number: int) -> str:
    """
    >>> short(999), short(12_345), short(4_200_000_000)
    ('999', '12.3 K', '4.2 G')
    """
    for power, unit in ((9, "G"), (6, "M"), (3, "K")):
        if number >= 10**power:
            return f"{number / 10**power:.3g} {unit}"
    return str(number)


def page(title: str, lead: Text, parts: Iterable[Html], *, foot: Text = "") -> str:
    """The whole file."""
    return "\n".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{FETCHES_NOTHING}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<link rel="icon" href="data:,">',
            element("title", title),
            f"<style>{STYLE}</style>\n</head>\n<body>\n<main>",
            element("header", element("h1", title), element("p", lead, kind="lead")),
            *parts,
            *([element("footer", foot)] if foot else []),
            "</main>\n</body>\n</html>\n",
        )
    )


def section(heading: str, *parts: Html, note: Text = "") -> Html:
    below = [element("p", note, kind="note")] if note else []
    return element("section", element("h2", heading), *below, *parts)


class Fact(NamedTuple):
    """A number that stands out."""

    name: str
    value: str
    note: str = ""


def facts(entries: Iterable[Fact]) -> Html:
    cards = []
    for entry in entries:
        note = [element("dd", entry.note, kind="note")] if entry.note else []
        cards.append(element("div", element("dt", entry.name), element("dd", entry.value), *note, kind="card"))
    return element("dl", *cards, kind="facts")


def table(head: Sequence[str], rows: Iterable[Sequence[Text | int]]) -> Html:
    """A table; a column whose heading ends in a space is one of numbers, and stands at the right. Ints get commas."""
    kinds = ["number" if name.endswith(" ") else "" for name in head]
    top = element("tr", *(element("th", name.strip(), kind=kind) for name, kind in zip(head, kinds, strict=True)))
    lines = []
    for row in rows:
        cells = [f"{cell:,}" if isinstance(cell, int) else cell for cell in row]
        lines.append(element("tr", *(element("td", cell, kind=kind) for cell, kind in zip(cells, kinds, strict=True))))
    body = element("table", element("thead", top), element("tbody", *lines))
    return element("div", body, kind="card scroll")


def chart(heading: str, drawing: Html, note: Text = "") -> Html:
    return element("figure", element("h3", heading), element("figcaption", note), drawing, kind="card")


def charts(drawn: Iterable[Html]) -> Html:
    return element("div", *drawn, kind="charts")


def image(jpeg: bytes | None, caption: Text, *, instead: Text = "") -> Html:
    """A thumbnail that lies in the page itself; without one, a frame that says why there is none."""
    if jpeg is None:
        return element("figure", element("div", instead, kind="blank"), element("figcaption", caption))
    data = base64.b64encode(jpeg).decode("ascii")
    image = Html(f'<img alt="" src="data:image/jpeg;base64,{data}">')
    return element("figure", image, element("figcaption", caption))


def folded(heading: str, *parts: Text) -> Html:
    """Shown when the heading is clicked."""
    return element("details", element("summary", heading), *parts)
