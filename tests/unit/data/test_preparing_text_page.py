"""The page on preparing text names every template and every reason, in the code's own words."""

from pathlib import Path

import pytest

from aurora_cli.data.conversation import TEMPLATES
from aurora_cli.data.records import REASONS

PAGE = (Path(__file__).parents[3] / "docs" / "preparing-text.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(("reason", "meaning"), REASONS.items())
def test_every_reason_is_explained(reason, meaning):
    assert f"| `{reason}` | {meaning} |" in PAGE


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_template_has_its_line(template):
    assert f"| `{template}` |" in PAGE
