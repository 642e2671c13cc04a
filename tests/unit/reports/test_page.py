"""Pages: what they show is text unless it says otherwise, nothing is fetched, and no name of a template is missing."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError
from markupsafe import Markup

from aurora_cli.reports.page import Chart, Fact, Page, render
from aurora_cli.reports.rejects import Rejects, ShownReject
from aurora_cli.reports.run import DataFolder, RunPage
from aurora_cli.reports.samples import CaptionedSample

SVG = Markup("<svg></svg>")


def page_of(text: str) -> RunPage:
    """A page that has the text wherever text can stand."""
    caption = (1234567, text)
    return RunPage(
        title=text,
        lead=text,
        foot=text,
        facts=[Fact(text, text, text), Fact("rows", "1")],
        curves=[Chart(text, SVG, text)],
        samples=[CaptionedSample(text, jpeg, [caption], [caption], text) for jpeg in (b"jpeg", None)],
        order_hash=text,
        data=[DataFolder(text, 1234567, text, [text])],
        rejects=Rejects(text, 1, [(text, 1)], [ShownReject(1, text, text, text)]),
        start=[(text, text)],
        settings=text,
    )


class Structure(HTMLParser):
    """The elements of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[object] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, attrs))

    def handle_endtag(self, tag: str) -> None:
        self.elements.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.slow
@given(st.text(alphabet=st.characters(exclude_categories=()), min_size=1))
def test_any_text_goes_in_as_text(text: str) -> None:
    html = render("run.html.j2", page_of(text))
    assert Structure(html).elements == Structure(render("run.html.j2", page_of("text"))).elements
    html.encode("utf-8")
    assert not re.search("[\0-\x08\x0b-\x1f\x7f-\x9f]", html)


def test_hostile_text_is_shown_as_it_is() -> None:
    hostile = '</title></style><script>alert(1)</script> & "quotes"'
    html = render("run.html.j2", page_of(hostile))
    assert "<script" not in html
    assert Structure(html).text.count(hostile) == Structure(render("run.html.j2", page_of("#hostile#"))).text.count(
        "#hostile#"
    )


def test_line_breaks_stay_and_what_html_cannot_hold_is_replaced() -> None:
    assert "a\n\tb\ufffd\ufffd\ufffd" in render("run.html.j2", page_of("a\n\tb\r\x0b\ud800"))


def test_numbers_of_a_table_stand_right_with_commas() -> None:
    html = render("run.html.j2", page_of("a<b"))
    assert '<th class="number">Samples</th>' in html
    assert '<td>a&lt;b</td>\n<td class="number">1,234,567</td>' in html
    assert '<tr><td class="number">1,234,567</td><td>a&lt;b</td></tr>' in html


def test_a_page_fetches_nothing_and_runs_nothing() -> None:
    html = render("run.html.j2", page_of("text"))
    assert "default-src 'none'" in html
    assert not re.search(r"""(src|href)=["'](?!data:)|url\(|@import|<script""", html)
    assert 'src="data:image/jpeg;base64,anBlZw=="' in html
    assert '<div class="blank">no image</div>' in html


def test_drawings_go_in_as_markup() -> None:
    assert SVG in render("run.html.j2", page_of("text"))


def test_a_name_that_a_page_does_not_have_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="facts"):
        render("run.html.j2", Page(title="a", lead="b", foot="c"))
