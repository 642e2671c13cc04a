"""A row of a table -> its captions, each with its medium: one, or as many as a cell has in a list."""

import ast
import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from aurora_cli.constants import IMAGE, VIDEO
from aurora_cli.data.annotations.records import Rejection, Span, shortened
from aurora_cli.data.annotations.spans import checked, pair_in, seconds, span_of
from aurora_cli.data.importing.columns import Columns
from aurora_cli.data.importing.item import Item, Refused
from aurora_cli.data.media.kinds import VIDEO_SUFFIXES, MediaKind

LONGEST_LIST = 1 << 20
"""Characters of a cell that is read as a list."""

RowReader = Callable[[Sequence[Any], str, int], Sequence[Item | Refused]]
"""(cells, file, line) -> what the row gives: at least one, so that no row is passed over."""


def row_reader(columns: Columns) -> RowReader:
    """What reads the rows of a table with these columns."""
    text_at, id_at, group_at, question_at = columns.text, columns.id, columns.group, columns.question
    has_times = columns.start is not None or columns.end is not None or columns.span is not None
    rows_at, media_of = columns.rows, _media_reader(columns)

    def read(cells: Sequence[Any], file: str, line: int) -> Sequence[Item | Refused]:
        given = None if id_at is None else cells[id_at]
        name = f"{file}:{line}" if given is None or given == "" else str(given)
        try:
            if rows_at is not None and (value := str(cells[rows_at]).strip()) != columns.rows_value:
                raise Rejection("other_rows", f"{columns.names[rows_at]} is {shortened(value)}")
            path, kind, content, other = media_of(cells)
            texts = captions_in(cells[text_at])
            spans = spans_in(cells, columns, len(texts)) if has_times else None
        except Rejection as rejection:
            return (Refused(file, line, name, rejection.reason, rejection.detail),)
        group = None if group_at is None or cells[group_at] in (None, "") else str(cells[group_at])
        question = None if question_at is None else question_in(cells[question_at])
        if len(texts) == 1:
            span = None if spans is None else spans[0]
            return (Item(file, line, name, (path,), kind, texts[0], span, group, other, content, question=question),)
        parts = spans or [None] * len(texts)
        return [
            Item(
                file,
                line,
                f"{name}#{number}",
                (path,),
                kind,
                text,
                parts[number],
                group,
                other,
                content,
                question=question,
            )
            for number, text in enumerate(texts)
        ]

    return read


_Medium = tuple[str, MediaKind | None, bytes | None, str | None]


def _media_reader(columns: Columns) -> Callable[[Sequence[Any]], _Medium]:
    kinds: list[tuple[int, MediaKind | None]] = []
    if columns.video is not None:
        kinds.append((columns.video, "video"))
    if columns.image is not None:
        kinds.append((columns.image, "image"))
    if columns.file is not None:
        kinds.append((columns.file, None))
    folder_at = columns.folder

    def read(cells: Sequence[Any]) -> _Medium:
        for at, kind in kinds:
            cell = cells[at]
            if isinstance(cell, list) and len(cell) == 1:
                cell = cell[0]
            if isinstance(cell, str) and (path := cell.strip()):
                if folder_at is not None and cells[folder_at]:
                    return f"{str(cells[folder_at]).strip()}/{path}", kind, None, path
                return path, kind if kind != "image" else _kind_of(path), None, None
            if isinstance(cell, dict):
                return _embedded(cell, kind)
            if isinstance(cell, bytes) and cell:
                return "", kind, cell, None
            if isinstance(cell, int | float) and not isinstance(cell, bool) and cell == cell:
                return str(cell), kind, None, None
            if cell not in (None, "") and cell == cell and not (isinstance(cell, str) and not cell.strip()):
                raise Rejection("bad_media", shortened(cell))
        raise Rejection("no_media", ", ".join(columns.names[at] for at, _ in kinds))

    return read


def _kind_of(path: str) -> MediaKind:
    """What a column of images names: a video, where its suffix says nothing else."""
    return "video" if path[path.rfind(".") :].lower() in VIDEO_SUFFIXES else "image"


def _embedded(cell: dict[str, Any], kind: MediaKind | None) -> _Medium:
    """A cell of an Image or Video column of `datasets`: the bytes, else the path."""
    path, content = cell.get("path"), cell.get("bytes")
    if isinstance(content, bytes) and content:
        return path if isinstance(path, str) else "", kind, content, None
    if isinstance(path, str) and path:
        return path, kind, None, None
    raise Rejection("no_media", shortened(cell))


def question_in(cell: Any) -> str | None:
    """What is asked, without the marks of media, which are put in front of every question; none: the cell is empty.

    >>> question_in("<image>\\nHow many? "), question_in(None), question_in(" ")
    ('How many?', None, None)
    """
    return (cell.replace(IMAGE, "").replace(VIDEO, "").strip() or None) if isinstance(cell, str) else None


def captions_in(cell: Any) -> list[str]:
    """The captions of a cell: its text, or those of a list, also of one that is written out; of an empty one nothing.

    >>> captions_in(" A cat. "), captions_in(["a", None]), captions_in("['a', 'b']"), captions_in("[sic] a cat")
    (['A cat.'], ['a', ''], ['a', 'b'], ['[sic] a cat'])

    Raises:
        Rejection: there is none.
    """
    if isinstance(cell, str):
        text = cell.strip()
        if text[:1] != "[":
            if text:
                return [text]
            raise Rejection("no_caption", "it is empty")
        listed = _list_in(text)
        if listed is None or not all(isinstance(one, str) for one in listed):
            return [text]
        cell = listed
    if isinstance(cell, list) and cell:
        texts = [_caption(one) for one in cell]
        if any(texts):
            return texts
    raise Rejection("no_caption", shortened(cell))


def _caption(value: Any) -> str:
    """A caption of a list, which may be an object around it (COCO's `raw`, Karpathy's `sentences`)."""
    if isinstance(value, dict):
        value = next((value[key] for key in ("caption", "raw", "text", "sentence") if key in value), None)
    return value.strip() if isinstance(value, str) else ""


def _list_in(text: str) -> list[Any] | None:
    """The list that a cell writes out, as JSON or as Python does."""
    if len(text) > LONGEST_LIST or not text.endswith("]"):
        return None
    for load in (json.loads, ast.literal_eval):
        try:
            value = load(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return value if isinstance(value, list) and value else None
    return None


def spans_in(cells: Sequence[Any], columns: Columns, captions: int) -> list[Span] | None:
    """The part of the video that each caption of a row is about; none: all of it.

    Raises:
        Rejection: they are no times, or a list of them that is not as long as that of the captions.
    """
    if columns.span is not None and not _is_blank(cells[columns.span]):
        cell = cells[columns.span]
        value = (_list_in(cell.strip()) or cell) if isinstance(cell, str) else cell
        name = columns.names[columns.span]
        pairs: list[Any] = [value] * captions
        if isinstance(value, list) and value and isinstance(value[0], list):
            pairs = value
        if len(pairs) != captions:
            raise Rejection("bad_span", f"{captions} captions, {len(pairs)} parts of the video")
        found = [pair_in(pair) for pair in pairs]
        if any(pair is None for pair in found):
            raise Rejection("bad_span", f"{name} is {shortened(cell)}")
        return [span_of(pair, name) for pair in found if pair is not None]
    start, end = (None if at is None or _is_blank(cells[at]) else cells[at] for at in (columns.start, columns.end))
    if start is None and end is None:
        return None
    first = 0.0 if start is None else seconds(start, "start")
    return [checked(first, math.inf if end is None else seconds(end, "end"))] * captions


def _is_blank(cell: Any) -> bool:
    return cell is None or (isinstance(cell, str) and not cell.strip()) or cell != cell
