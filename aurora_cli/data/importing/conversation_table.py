"""A table with a whole conversation a row (LLaVA-OneVision, The Cauldron, FineVision), its images in the cells."""

import base64
import json
from collections.abc import Iterator
from typing import Any

from aurora_cli.data.annotations.records import Record, Rejection
from aurora_cli.data.annotations.schemas import parse_record
from aurora_cli.data.importing.item import Item, Refused
from aurora_cli.data.media.kinds import MediaKind
from aurora_cli.io.data_uri import image_in, is_data_uri

TURNS = {
    "conversations": {"value", "content"},
    "messages": {"value", "content"},
    "captions": {"idx"},
    "QA": {"a"},
    "texts": {"user", "assistant"},
}
"""Columns of turns, and of what one of these is known by: a list of captions is none."""
ASIDE = ({"instruction", "output"}, {"query", "response"})
"""Columns of text that are conversations together."""


def holds_conversations(schema: Any) -> bool:
    """Whether a table of an Arrow schema has a column of turns, or columns of questions and their answers."""
    import pyarrow as pa

    for name in TURNS.keys() & {*schema.names}:
        kind = schema.field(name).type
        is_of_objects = pa.types.is_list(kind) and pa.types.is_struct(kind.value_type)
        if is_of_objects and TURNS[name] & {field.name for field in kind.value_type}:
            return True
    return any(columns <= {*schema.names} for columns in ASIDE)


def rows_of(batch: Any, file: str, line: int) -> Iterator[Item | Refused]:
    """What each row of an Arrow batch gives, of which the first is the line of this number."""
    for number, row in enumerate(batch.to_pylist(), line):
        row = {key: _with_bytes(value) for key, value in row.items()}
        raw = json.dumps(row, default=_as_text).encode("utf-8", "surrogatepass")
        yield with_contents(conversation_item(raw, file, number))


def conversation_item(raw: bytes, file: str, line: int) -> Item | Refused:
    """The conversation in a record as JSON."""
    location = f"{file}:{line}"
    try:
        record = parse_record(raw, location, in_order=True)
        if not any(turn.role == "gpt" for turn in record.messages):
            raise Rejection("no_answer", f"{len(record.messages)} turns, none of gpt or assistant")
    except Rejection as rejection:
        return Refused(file, line, location, rejection.reason, rejection.detail)
    return item_of(record, file, line)


def item_of(record: Record, file: str, line: int) -> Item:
    """A record as an item; without media it is text."""
    kind: MediaKind | None = (
        "image" if record.images and not record.is_frame_list else "video" if record.video else None
    )
    return Item(
        file=file,
        line=line,
        id=record.id,
        media=tuple(record.images or ([record.video] if record.video is not None else ())),
        kind=kind,
        caption="",
        span=record.span,
        group=record.group,
        messages=record.messages,
        is_frame_list=record.is_frame_list,
    )


def with_contents(row: Item | Refused) -> Item | Refused:
    """An item whose images are written out, with what they hold."""
    if isinstance(row, Refused) or not row.media or not all(map(is_data_uri, row.media)):
        return row
    contents = tuple(image_in(uri) or b"" for uri in row.media)
    return row._replace(media=("",) * len(contents), contents=contents)


def _with_bytes(value: Any) -> Any:
    """A cell; bytes alone, or a list of them, as objects that hold them."""
    if isinstance(value, list):
        return [_with_bytes(one) for one in value]
    return {"bytes": value} if isinstance(value, bytes) else value


def _as_text(value: Any) -> str:
    """What JSON cannot hold: bytes as records have them; a date as it is written."""
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)
