"""A table as text, row by row: how it is written, its encoding, its lines.

Rows are read by Python's reader, which knows their lines. A quote that is opened and never closed swallows whatever
follows; then its line can be given back for what it is, and reading goes on with the next.
"""

import csv
import io
import re
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import IO, NamedTuple

from aurora_cli.data.annotations.file_forms import decompressed
from aurora_cli.errors import UsageError

SEPARATORS = ("\t", ",", ";", "|")
HEAD = 1 << 18
MOST_LINES, MOST_CHARACTERS = 1_000, 1 << 20
"""A row goes over no more; one that seems to has a quote without its end."""

WIDE = re.compile(rb"([^\0]\0){4}|(\0[^\0]){4}")
"""UTF-16 without a byte order mark, by its first letters."""

UNDECODABLE = re.compile("[\udc80-\udcff]")
"""What `surrogateescape` makes of bytes that are not in the encoding."""


class Dialect(NamedTuple):
    """How a table is written."""

    separator: str
    is_quoted: bool
    encoding: str


class Unclosed(Exception):
    """A row does not end."""


def dialect_of(source: Path, encoding: str) -> Dialect:
    """How a table is written, by its beginning.

    Raises:
        UsageError: there is no such encoding.
    """
    with open(source, "rb") as file, decompressed(source, file) as stream:
        head = stream.read(HEAD)
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        encoding = "utf-16"
    elif head.startswith(b"\xef\xbb\xbf"):
        encoding = "utf-8-sig"
    elif (wide := WIDE.match(head)) is not None:
        encoding = "utf-16-be" if wide[0][:1] == b"\0" else "utf-16-le"
    try:
        text = head.decode(encoding, "ignore")
    except LookupError:
        raise UsageError(
            f"import_data.encoding: {encoding!r}: there is no such encoding", hint="utf-8, latin-1, cp1252"
        ) from None
    first = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(SEPARATORS, key=first.count)
    if not first.count(separator):
        separator = "\t" if ".tsv" in source.name.lower() else ","
    cells = [cell.strip() for line in text.splitlines()[:200] for cell in line.split(separator)]
    wrapped = any(len(cell) > 1 and cell.startswith('"') and cell.endswith('"') for cell in cells)
    return Dialect(separator, separator != "\t" or wrapped, encoding)


class TableLines:
    """The lines of a table for a reader that takes as many as a row needs; the row's own can be given back."""

    def __init__(self, text: Iterator[str]) -> None:
        self._text = text
        self._back: deque[str] = deque()
        self._row: list[str] = []
        self._characters = 0
        self._next = 1
        self.has_ended = False
        """Whether the reader wanted more than there is."""
        self.is_ascii = True
        """Whether the row has nothing but ASCII."""

    def __iter__(self) -> "TableLines":
        return self

    def __next__(self) -> str:
        if self._back:
            line = self._back.popleft()
        else:
            line = next(self._text, "")
            if not line:
                self.has_ended = True
                raise StopIteration
        self._row.append(line)
        self._characters += len(line)
        self.is_ascii = self.is_ascii and line.isascii()
        if len(self._row) > MOST_LINES or (len(self._row) > 1 and self._characters > MOST_CHARACTERS):
            raise Unclosed("a quote does not end")
        return line

    def begin_row(self) -> int:
        """The number of the line that the next row begins on."""
        self._next += len(self._row)
        self._row.clear()
        self._characters = 0
        self.is_ascii = True
        return self._next

    def give_back(self) -> None:
        """Read the row's lines again, but for its first."""
        self._back.extendleft(reversed(self._row[1:]))
        del self._row[1:]
        self.has_ended = False


def csv_reader(lines: TableLines, dialect: Dialect) -> Iterator[list[str]]:
    csv.field_size_limit(1 << 26)
    quoting = csv.QUOTE_MINIMAL if dialect.is_quoted else csv.QUOTE_NONE
    return csv.reader(lines, delimiter=dialect.separator, quoting=quoting)


class open_text:
    """A file's raw stream, for its position, and its text; bytes that are not in the encoding are surrogates."""

    def __init__(self, source: Path, encoding: str) -> None:
        self._source, self._encoding = source, encoding

    def __enter__(self) -> tuple[IO[bytes], io.TextIOWrapper]:
        self._file = open(self._source, "rb")
        self._stream = decompressed(self._source, self._file)
        errors = "strict" if self._encoding.startswith("utf-16") else "surrogateescape"
        text = io.TextIOWrapper(self._stream.__enter__(), encoding=self._encoding, errors=errors, newline="")
        return self._file, text

    def __exit__(self, *error: object) -> None:
        self._stream.__exit__(None, None, None)
        self._file.close()
