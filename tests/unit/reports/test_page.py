"""Reports: what they are made of is text unless it says otherwise, and nothing is fetched."""

import re

from hypothesis import given
from hypothesis import strategies as st

from aurora_cli.reports.page import (
    Fact,
    Html,
    chart,
    charts,
    element,
    facts,
    folded,
    image,
    page,
    safe,
    section,
    table,
)


@given(st.text(alphabet=st.characters(exclude_categories=())))
def test_any_text_goes_in_as_text(text):
    inside = element("td", text).removeprefix("<td>").removesuffix("</td>")
    assert not set(inside) & {"<", ">", '"'}
    assert not re.search(r"&(?!(amp|lt|gt|quot|#x27);)", inside)
    inside.encode("utf-8")
    assert not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f]", inside)


def test_attributes_cannot_be_left():
    assert element("p", "x", kind='"><script>') == '<p class="&quot;&gt;&lt;script&gt;">x</p>'


def test_markup_stays_markup_and_line_breaks_stay():
    assert safe(Html("<b>")) == "<b>"
    assert safe("a\n\tb\r\x0b") == "a\n\tb\ufffd\ufffd"


def test_numbers_of_a_table_stand_right_with_commas():
    html = table(("name", "rows "), [("a<b", 1234567)])
    assert '<th class="number">rows</th>' in html
    assert '<td>a&lt;b</td><td class="number">1,234,567</td>' in html


def test_a_page_fetches_nothing_and_runs_nothing():
    parts = [
        facts([Fact("rows", "1", "of 2"), Fact("x", "y")]),
        section("Charts", charts([chart("A", Html("<svg></svg>"), "note")]), note="n"),
        image(b"jpeg", "a.jpg"),
        image(None, "b.jpg", instead="missing"),
        folded("more", "text"),
    ]
    html = page("<title>", "lead", parts, foot="foot")
    assert "&lt;title&gt;" in html
    assert "default-src 'none'" in html
    assert not re.search(r"""(src|href)=["'](?!data:)|url\(|@import|<script""", html)
    assert 'src="data:image/jpeg;base64,anBlZw=="' in html
