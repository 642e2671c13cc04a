"""Conversations that `tokenize` reads as they are, in whatever schema of records: their media are linked."""

from pathlib import Path

from aurora_cli.console import Advance
from aurora_cli.data.annotations.files import raw_records
from aurora_cli.data.importing.conversation_table import conversation_item
from aurora_cli.data.importing.format import ImportFormat, Opened, Options, Rows
from aurora_cli.data.importing.json_text import has_keys, head_of

KEYS = (
    ("conversations",),
    ("messages",),
    ("captions", "idx"),
    ("QA", "a"),
    ("texts", "user", "assistant"),
    ("instruction", "output"),
    ("query", "response"),
)
"""Keys by which a file is one of conversations: those of a schema, and others where the first may be anything's."""


def suits(source: Path) -> bool:
    """By the fields that record schemas are known by."""
    head = head_of(source)
    return any(has_keys(head, *keys) for keys in KEYS)


def open_conversations(source: Path, options: Options) -> Opened:
    """Each record is recognised by its fields."""

    def rows(advance: Advance) -> Rows:
        for line, raw in raw_records(source, advance):
            yield conversation_item(raw, source.name, line)

    return Opened((source,), source.parent, ("conversations, taken over as they are",), rows)


FORMAT = ImportFormat(
    "llava",
    "a .json or .jsonl of conversations (LLaVA, OpenAI, ShareGPT, Alpaca, VideoChat2)",
    suits,
    open_conversations,
    rank=25,
)
