"""An item with its media located -> the line of a record, in LLaVA's form."""

import json
import math
from json.encoder import encode_basestring as quoted
from typing import Any

from aurora_cli.constants import IMAGE, VIDEO
from aurora_cli.data.annotations.keys import GROUP
from aurora_cli.data.importing.item import Item
from aurora_cli.data.importing.questions import Questions
from aurora_cli.data.media.kinds import MediaKind


class RecordLines:
    """Writes records, a line each."""

    def __init__(self, questions: Questions) -> None:
        self._questions = questions
        self._marks: dict[str, str] = {"image": IMAGE, "video": VIDEO}
        every = {*questions.image, *questions.video}
        self._written = {
            (question, kind): quoted(f"{mark}\n{question}") for question in every for kind, mark in self._marks.items()
        }

    def caption(self, item: Item, path: str, kind: MediaKind) -> str:
        """The record of a caption: a question about the medium, and the caption as its answer."""
        if item.question is None:
            question = self._written[self._questions.draw(item.id, kind), kind]
        else:
            question = quoted(f"{self._marks[kind]}\n{item.question}")
        span = "" if item.span is None else f"{_span(item.span)}, "
        group = "" if item.group is None else f'"{GROUP}": {quoted(item.group)}, '
        return (
            f'{{"id": {quoted(item.id)}, "{kind}": {quoted(path)}, {span}{group}"conversations": [{{"from": "human", '
            f'"value": {question}}}, {{"from": "gpt", "value": {quoted(item.caption)}}}]}}\n'
        )

    def conversation(self, item: Item, paths: list[str], kind: MediaKind) -> str:
        """The record of a conversation, its media under their new paths."""
        record: dict[str, Any] = {"id": item.id}
        if item.is_frame_list:
            record["video"] = paths
        elif paths:
            record[kind] = paths[0] if len(paths) == 1 else paths
        turns = [
            {"from": turn.role, "value": turn.text, **({} if turn.is_target else {"weight": 0})}
            for turn in item.messages or ()
        ]
        span = {} if item.span is None else json.loads(f"{{{_span(item.span)}}}")
        group = {} if item.group is None else {GROUP: item.group}
        return json.dumps({**record, **span, **group, "conversations": turns}, ensure_ascii=False) + "\n"


def _span(span: tuple[float, float]) -> str:
    """The keys of a part of a video; one that goes on to the end has no end.

    >>> _span((1.5, 3.0)), _span((2.0, math.inf))
    ('"span": [1.5, 3.0]', '"start": 2.0')
    """
    start, end = span
    return f'"start": {start!r}' if math.isinf(end) else f'"span": [{start!r}, {end!r}]'
