"""The page on preparing text names every schema, every template and every reason, in the code's own words."""

from pathlib import Path

import pytest

from aurora_cli.data.annotations.records import REASONS
from aurora_cli.data.annotations.schemas import SIGNS, meaning_of
from aurora_cli.data.tokenization.templates import OWN_TEMPLATE, TEMPLATES

PAGE = (Path(__file__).parents[4] / "docs" / "preparing-text.md").read_text(encoding="utf-8")


def has_line(line: str) -> None:
    assert line in PAGE, f"add a line to its table in docs/preparing-text.md: {line}"


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_is_explained(reason):
    has_line(f"| `{reason}` | {meaning_of(reason)} |")


@pytest.mark.parametrize("template", [*TEMPLATES, OWN_TEMPLATE])
def test_every_template_has_its_line(template):
    has_line(f"| `{template}` | ")


@pytest.mark.parametrize(("sign", "schema"), SIGNS.items())
def test_every_schema_has_its_line_with_the_field_that_tells_it(sign, schema):
    assert f"| `{schema}` | `{sign}` |" in PAGE
