"""Judgements on disk: a line a question, only ever added to, so that what was judged is paid for once.

A judgement belongs to the caption, the question, its right answer, the prompts, the model and the limit of tokens: a
line of others is left where it is, and not gone by. What the judge replied is kept, and read for its verdict each time.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from aurora_cli.evaluation.judge.prompts import Prompts
from aurora_cli.evaluation.judge.questions import Question
from aurora_cli.io.atomic import disk_errors, open_to_append
from aurora_cli.io.json_files import JsonLine


class Judgement(JsonLine):
    """What the judge said of one question."""

    WHAT = "a judgement"

    key: str
    """A hash of all that it depends on."""
    id: str
    """The medium."""
    question: str
    category: str | None = None
    right_answer: str
    answer: str
    """The judge's own, from the caption alone."""
    reply: str = ""
    """Its verdict on that answer, as it wrote it; empty: the answer was empty, and it was not requested."""
    model: str
    requests: int
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0
    """Requests whose tokens the server did not count."""


class Pending(NamedTuple):
    """A question about a caption, to be judged."""

    key: str
    id: str
    question: Question
    caption: str


def pending_of(medium: str, caption: str, question: Question, prompts: Prompts, model: str, max_tokens: int) -> Pending:
    """The question with its key."""
    parts = [caption, question.text, question.answer, prompts.sha256, model, max_tokens]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
    return Pending(key, medium, question, caption)


class Journal:
    """The judgements of a file."""

    def __init__(self, path: Path) -> None:
        """Lines that cannot be read - a kill tears the last one - hold nothing."""
        self._path = path
        self.judgements: dict[str, Judgement] = {}
        self._is_torn = False
        if not path.is_file():
            return
        with open(path, "rb") as file:
            for raw in file:
                self._is_torn = not raw.endswith(b"\n")
                try:
                    judgement = Judgement.model_validate_json(raw)
                except ValidationError:
                    continue
                self.judgements[judgement.key] = judgement

    def add(self, judgement: Judgement) -> None:
        """Durable when this returns."""
        with disk_errors(self._path), open_to_append(self._path) as file:
            file.write("\n" * self._is_torn + json.dumps(judgement.to_json(), ensure_ascii=True) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._is_torn = False
        self.judgements[judgement.key] = judgement
