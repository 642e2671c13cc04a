"""Flickr-style token files: `1000092795.jpg#0<tab>Two young guys ...`, a caption a line."""

import re
from pathlib import Path

from aurora_cli.console import Advance
from aurora_cli.data.importing.format import ImportFormat, Opened, Options, Rows
from aurora_cli.data.importing.item import Item, Refused
from aurora_cli.data.importing.table_text import UNDECODABLE, dialect_of, open_text

LINE = re.compile(r"(?P<id>(?P<medium>.+?)#\w+)\t(?P<caption>.*)")
SUFFIXES = (".txt", ".token", ".tsv", ".csv")
LINES_LOOKED_AT = 20


def suits(source: Path) -> bool:
    """By its first lines."""
    if not source.is_file() or not source.name.lower().removesuffix(".gz").endswith(SUFFIXES):
        return False
    with open_text(source, dialect_of(source, "utf-8").encoding) as (_, text):
        lines = [line for line in (text.readline(1 << 16) for _ in range(LINES_LOOKED_AT)) if line.strip()]
    return bool(lines) and sum(LINE.match(line) is not None for line in lines) * 2 > len(lines)


def open_tokens(source: Path, options: Options) -> Opened:
    """Nothing has to be known before it is read."""
    encoding = dialect_of(source, options.encoding).encoding

    def rows(advance: Advance) -> Rows:
        with open_text(source, encoding) as (file, text):
            done = 0
            for number, line in enumerate(text, start=1):
                if number % 1_024 == 0:
                    advance((now := file.tell()) - done)
                    done = now
                if line.strip():
                    yield _row(source.name, number, line.rstrip("\r\n"), encoding)

    return Opened((source,), source.parent, ("a caption a line: name#number, a tab, the caption",), rows)


def _row(file: str, number: int, line: str, encoding: str) -> Item | Refused:
    found = LINE.fullmatch(line)
    if found is None:
        return Refused(file, number, f"{file}:{number}", "bad_row", "name#number, a tab and a caption were expected")
    name, caption = found["id"].strip(), found["caption"].strip()
    if not line.isascii() and UNDECODABLE.search(line):
        return Refused(file, number, f"{file}:{number}", "bad_unicode", f"no {encoding}")
    if not caption:
        return Refused(file, number, name, "no_caption", "it is empty")
    return Item(file, number, name, (found["medium"].strip(),), None, caption)


FORMAT = ImportFormat(
    "flickr", "a text file with `name.jpg#0`, a tab and a caption a line", suits, open_tokens, rank=15
)
