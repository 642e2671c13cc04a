"""The troubleshooting page is found by error messages: each of its headings is a message of the code."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "troubleshooting.md"
OTHERS = {"CUDA out of memory", "rejected.jsonl"}
"""PyTorch's message, and a file's name."""


@cache
def texts() -> str:
    """Every text of the package, a line each; what is put into one is a null character."""
    found = []
    for path in sorted((ROOT / "aurora_cli").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def shown() -> list[str]:
    """The messages in the page's headings."""
    headings = re.findall(r"^### (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return [message for heading in headings for message in re.findall(r"`([^`]+)`", heading)]


@pytest.mark.slow
@pytest.mark.parametrize("message", [message for message in shown() if message not in OTHERS])
def test_a_message_on_the_page_is_one_of_the_code(message: str) -> None:
    pieces = [piece.strip(" :,;?()") for piece in message.split("…")]  # some are put together from two texts
    assert [piece for piece in pieces if piece not in texts()] == []


def test_the_page_has_messages() -> None:
    assert len(shown()) > 40
