"""Conversations that `tokenize` reads as they are - LLaVA's, OpenAI's, ShareGPT4Video's: their media are linked."""

from pathlib import Path

from aurora_cli.console import Advance
from aurora_cli.data.annotations.files import raw_records
from aurora_cli.data.annotations.records import Record, Rejection
from aurora_cli.data.annotations.schemas import parse_record
from aurora_cli.data.importing.format import ImportFormat, Opened, Options, Rows
from aurora_cli.data.importing.item import Item, Kind, Refused
from aurora_cli.data.importing.json_text import has_keys, head_of


def suits(source: Path) -> bool:
    """By the fields that record schemas are known by."""
    head = head_of(source)
    return has_keys(head, "conversations") or has_keys(head, "messages") or has_keys(head, "captions", "idx")


def open_conversations(source: Path, options: Options) -> Opened:
    """Each record is recognised by its fields."""

    def rows(advance: Advance) -> Rows:
        for line, raw in raw_records(source, advance):
            location = f"{source.name}:{line}"
            try:
                record = parse_record(raw, location, in_order=True)
                if not any(turn.role == "gpt" for turn in record.messages):
                    raise Rejection("no_answer", f"{len(record.messages)} turns, none of gpt or assistant")
            except Rejection as rejection:
                yield Refused(source.name, line, location, rejection.reason, rejection.detail)
                continue
            yield item_of(record, source.name, line)

    return Opened((source,), source.parent, ("conversations, taken over as they are",), rows)


def item_of(record: Record, file: str, line: int) -> Item:
    """A record as an item; without media it is text."""
    kind: Kind | None = "image" if record.images and not record.is_frame_list else "video" if record.video else None
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


FORMAT = ImportFormat(
    "llava", "a .json or .jsonl of conversations (LLaVA, OpenAI, ShareGPT)", suits, open_conversations, rank=25
)
