"""One JSON object from a medium's name to its caption: `{"a.jpg": "A cat.", "b.jpg": ["One.", "Another."]}`.

The caption may be a text, a list of them, or an object that holds one.
"""

import re
from pathlib import Path

from aurora_cli.console import Advance
from aurora_cli.data.annotations.records import Rejection
from aurora_cli.data.importing.format import ImportFormat, Opened, Options, Rows
from aurora_cli.data.importing.formats.folder import texts_of
from aurora_cli.data.importing.item import Item, Refused
from aurora_cli.data.importing.json_text import Entry, entries_in, head_of
from aurora_cli.data.media.kinds import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from aurora_cli.errors import DataError

ENDINGS = "|".join(re.escape(suffix) for suffix in sorted(IMAGE_SUFFIXES | VIDEO_SUFFIXES))
FIRST_KEY = re.compile(rf'\{{\s*"(?:[^"\\]|\\.)+(?:{ENDINGS})"\s*:', re.IGNORECASE)
"""Of an object that begins with the name of an image or video."""


def suits(source: Path) -> bool:
    """By its first key."""
    return FIRST_KEY.match(head_of(source)) is not None


def open_mapping(source: Path, options: Options) -> Opened:
    """
    Raises:
        DataError: it is no JSON object.
    """
    if not head_of(source).startswith("{"):
        raise DataError(f"{source}: is no JSON object; one from names to captions was expected")

    def rows(advance: Advance) -> Rows:
        line, before = 0, None
        for entry in entries_in(source, advance, empty_lists=True):
            line += entry.key != before or entry.number in (None, 0, 1)
            before = entry.key
            yield from _items(source.name, line, entry, options)

    return Opened((source,), source.parent, ("captions by the names of their images or videos",), rows)


def _items(file: str, line: int, entry: Entry, options: Options) -> list[Item | Refused]:
    name = entry.key if not entry.number else f"{entry.key}#{entry.number - 1}"
    try:
        if not entry.text:
            raise Rejection("bad_json", "the file breaks off")
        texts = texts_of("value.json", entry.text.encode("utf-8", "surrogateescape"), options)
    except Rejection as rejection:
        return [Refused(file, line, name or f"{file}:{line}", rejection.reason, rejection.detail)]
    return [
        Item(file, line, name if len(texts) == 1 else f"{name}#{at}", (entry.key,), None, text)
        for at, text in enumerate(texts)
    ]


FORMAT = ImportFormat(
    "mapping", 'a .json with a caption for each file name: {"a.jpg": "A cat."}', suits, open_mapping, rank=24
)
