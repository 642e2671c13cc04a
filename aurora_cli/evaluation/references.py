"""What captions are compared with: references in every form that `aurora import` reads, or a line an id.

{"id": ..., "references": [...]}    JSONL, or an array of them
{"id": ..., "qa": [...]}            questions for a judge; the row may have references, or a right caption, as well
COCO's annotations                  known by the image's id too, as COCO's results name it
a token store                       of `aurora tokenize`, as a validation share is: the first answer of each row
all else                            by the formats of `aurora import`: a medium's captions are its references
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from aurora_cli.console import unheard
from aurora_cli.data.annotations.records import Message, Rejection, Span
from aurora_cli.data.annotations.spans import pair_in, span_of
from aurora_cli.data.importing.format import Options
from aurora_cli.data.importing.item import Item, Refused
from aurora_cli.data.importing.registry import recognised
from aurora_cli.data.importing.table import question_in
from aurora_cli.errors import DataError, reason_of
from aurora_cli.evaluation.captions import Unreadable, names_in, part_name, paths_in, rows_of, with_file_names
from aurora_cli.evaluation.judge.questions import Question, holds_questions, questions_in
from aurora_cli.evaluation.tokenized_references import store_in, tokenized_references
from aurora_cli.io.json_files import JsonObject

KEY = "references"


class About(NamedTuple):
    """The medium of references, as they name it."""

    paths: tuple[str, ...]
    """Where it may lie, the likeliest first; of a list of frames those of all. None: it is no single medium."""
    span: Span | None = None
    """The part of the video; None: all of it."""
    is_frame_list: bool = False
    question: str | None = None
    """That the references answer; None: any that wants a caption."""


class ReferenceSet(NamedTuple):
    """The references of every medium, in the file's order."""

    names: list[tuple[str, ...]]
    """What each medium is known by; the first stands in reports."""
    texts: list[list[str]]
    """None of a medium that there are only questions about."""
    unreadable: list[Unreadable]
    about: Sequence[About] = ()
    """The medium of each."""
    questions: Mapping[str, list[Question]] = {}
    """What a judge is asked about a medium, by the name that stands in reports."""


class _Gathered:
    """References by medium, which may be on several lines."""

    def __init__(self) -> None:
        self.texts: dict[str, list[str]] = {}
        self.names: dict[str, tuple[str, ...]] = {}
        self.about: dict[str, About] = {}
        self.unreadable: list[Unreadable] = []
        self.questions: dict[str, list[Question]] = {}

    def add(self, names: tuple[str, ...], texts: list[str], about: About) -> None:
        self.texts.setdefault(names[0], []).extend(texts)
        self.names.setdefault(names[0], names)
        self.about.setdefault(names[0], about)

    def add_row(self, names: tuple[str, ...], texts: list[str], row: JsonObject, at: Unreadable) -> bool:
        """Whether the row says of which medium, or part of one, the texts are; else it is listed as unreadable `at`."""
        try:
            pair = pair_in(row.get("span"))
            about = About(paths_in(row), None if pair is None else span_of(pair, "span"))
        except Rejection as rejection:
            self.unreadable.append(at._replace(reason=f"{rejection.reason}: {rejection.detail}"))
            return False
        self.add(names, texts, about)
        return True


def read_references(path: Path) -> ReferenceSet:
    """
    Raises:
        DataError: there is no such file, or no reference in it.
        UsageError: its columns do not say what they hold.
    """
    if not path.exists():
        raise DataError(f"{path}: there are no references")
    gathered = _Gathered()
    if path.is_file() and holds_questions(path):
        _questions(path, gathered)
    elif path.is_file() and _has_key(path):
        _lists(path, gathered)
    elif path.is_file() and (coco := _coco(path)) is not None:
        _coco_references(path, coco, gathered)
    elif (store := store_in(path)) is not None:
        _tokenized(store, gathered)
    else:
        _importable(path, gathered)
    if not gathered.texts:
        raise DataError(f"{path}: holds no reference")
    return ReferenceSet(
        [gathered.names[key] for key in gathered.texts],
        [*gathered.texts.values()],
        gathered.unreadable,
        [gathered.about[key] for key in gathered.texts],
        gathered.questions,
    )


def _has_key(path: Path) -> bool:
    with open(path, "rb") as file:
        return f'"{KEY}"'.encode() in file.read(1 << 16)


def _lists(path: Path, gathered: _Gathered) -> None:
    for line, row in rows_of(path):
        if isinstance(row, str):
            gathered.unreadable.append(Unreadable(path.name, line, row))
            continue
        names, texts = names_in(row), row.get(KEY)
        texts = [texts] if isinstance(texts, str) else texts
        if not names:
            gathered.unreadable.append(Unreadable(path.name, line, "names nothing it is about"))
        elif not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            gathered.unreadable.append(Unreadable(path.name, line, f"{KEY}: a list of texts was expected"))
        else:
            gathered.add_row(names, texts, row, Unreadable(path.name, line, ""))


def _questions(path: Path, gathered: _Gathered) -> None:
    for line, row in rows_of(path):
        names = () if isinstance(row, str) else names_in(row)
        if isinstance(row, str) or not names:
            reason = row if isinstance(row, str) else "names nothing it is about"
            gathered.unreadable.append(Unreadable(path.name, line, reason))
            continue
        questions, unreadable = questions_in(row, path.name, line)
        gathered.unreadable += unreadable
        texts = row.get(KEY, row.get("caption", []))
        texts = [texts] if isinstance(texts, str) else texts
        known = [text for text in texts if isinstance(text, str)] if isinstance(texts, list) else []
        if gathered.add_row(names, known, row, Unreadable(path.name, line, "")):
            gathered.questions.setdefault(names[0], []).extend(questions)


def _coco(path: Path) -> JsonObject | None:
    """COCO's annotations, where the file holds such: its readers of results go by the ids of images."""
    with open(path, "rb") as file:
        head = file.read(1 << 16)
    if not head.lstrip().startswith(b"{") or path.suffix.lower() != ".json":
        return None
    try:
        content = json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read: {reason_of(error)}") from error
    lists = [content.get(key) for key in ("images", "annotations")] if isinstance(content, dict) else []
    return content if len(lists) == 2 and all(isinstance(each, list) for each in lists) else None


def _coco_references(path: Path, coco: JsonObject, gathered: _Gathered) -> None:
    files = {each.get("id"): each.get("file_name") for each in coco["images"] if isinstance(each, dict)}
    for number, each in enumerate(coco["annotations"], 1):
        text = each.get("caption") if isinstance(each, dict) else None
        image = each.get("image_id") if isinstance(each, dict) else None
        if not isinstance(text, str) or not isinstance(image, str | int):
            gathered.unreadable.append(Unreadable(path.name, number, "an annotation without image_id and caption"))
            continue
        file = files.get(image)
        names = [str(image), *([file] if isinstance(file, str) else [])]
        gathered.add(with_file_names(names), [text], About(with_file_names(names[::-1])))


def _tokenized(store: Path, gathered: _Gathered) -> None:
    for number, row in enumerate(tokenized_references(store), 1):
        if row.text is None or not row.media:
            gathered.unreadable.append(Unreadable(store.name, number, "no answer, or not about one medium"))
            continue
        medium = row.media[0] if row.span is None else part_name(row.media[0], *row.span)
        paths = row.media if row.is_frame_list else with_file_names([row.media[0]])
        gathered.add(with_file_names([medium, row.id]), [row.text], About(paths, row.span, row.is_frame_list))


def _importable(path: Path, gathered: _Gathered) -> None:
    source, found = recognised(path)
    for row in found.open(source, Options()).rows(unheard):
        if isinstance(row, Refused):
            gathered.unreadable.append(Unreadable(row.file, row.line, f"{row.reason}: {row.detail}"))
            continue
        text = row.caption if row.messages is None else _answer(row.messages)
        if not row.media or not text:
            gathered.unreadable.append(Unreadable(row.file, row.line, "no medium, or no answer about it"))
            continue
        own = [row.id] if row.messages is not None else []  # of a record; elsewhere an id may be a caption's alone
        medium = row.media[0] or row.id  # one in a cell may have no name
        medium = medium if row.span is None else part_name(medium, *row.span)
        gathered.add(with_file_names([medium, *own]), [text], _about(row))


def _about(row: Item) -> About:
    if row.is_frame_list:
        paths = row.media
    elif len(row.media) == 1:
        paths = with_file_names([row.media[0], *([row.other] if row.other else [])])
    else:
        paths = ()
    question = next((message.text for message in row.messages or () if message.role == "human"), row.question)
    return About(paths, row.span, row.is_frame_list, question_in(question))


def _answer(messages: list[Message]) -> str | None:
    """The first answer of a conversation that a model learns to give."""
    return next((message.text for message in messages if message.role == "gpt" and message.is_target), None)
