"""Questions about media with their right answers, a line a medium: {"id", "qa": [{"question", "answer", "category"}]}.

VDC's own rows are read as well: `video_name`, `qa_list`, and the right caption, which is a reference.
"""

import re
from pathlib import Path
from typing import NamedTuple

from aurora_cli.evaluation.captions import Unreadable
from aurora_cli.io.json_files import JsonObject

KEYS = ("qa", "qa_list")

CATEGORIES = ("camera", "short", "background", "main_object", "detailed")
"""VDC's, in its order."""

_HEAD_BYTES = 1 << 16


class Question(NamedTuple):
    """A question that a caption should have the answer to."""

    text: str
    answer: str
    """The right one."""
    category: str | None
    """None: it counts only among all."""


def holds_questions(path: Path) -> bool:
    """Whether a file's beginning has questions."""
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
    return any(re.search(rb'"%s"\s*:\s*\[' % key.encode(), head) for key in KEYS)


def questions_in(row: JsonObject, file: str, line: int) -> tuple[list[Question], list[Unreadable]]:
    """The questions of a row, and what of them is none."""
    pairs = next((row[key] for key in KEYS if key in row), None)
    if not isinstance(pairs, list) or not pairs:
        return [], [Unreadable(file, line, f"{KEYS[0]}: a list of questions was expected")]
    found: list[Question] = []
    unreadable: list[Unreadable] = []
    for number, pair in enumerate(pairs, 1):
        question = _question(pair, row.get("category")) if isinstance(pair, dict) else None
        if question is None:
            unreadable.append(Unreadable(file, line, f"{KEYS[0]}[{number}]: has no question and answer"))
        else:
            found.append(question)
    return found, unreadable


def _question(pair: JsonObject, of_row: object) -> Question | None:
    text, answer = pair.get("question"), pair.get("answer")
    if isinstance(answer, int | float):
        answer = str(answer)
    if not isinstance(text, str) or not isinstance(answer, str) or not text.strip() or not answer.strip():
        return None
    category = pair.get("category", of_row)
    return Question(text, answer, category_name(category) if isinstance(category, str) else None)


def category_name(category: str) -> str | None:
    """A category as its scores are called.

    >>> category_name("Main Object"), category_name("main-object"), category_name(" ")
    ('main_object', 'main_object', None)
    """
    return re.sub(r"\W+", "_", category.strip().lower()).strip("_") or None


def in_order(categories: set[str]) -> list[str]:
    """VDC's categories in its order, then the others by name."""
    return [name for name in CATEGORIES if name in categories] + sorted(categories - {*CATEGORIES})
