"""A table as text: .csv, .tsv; any of the usual separators, quoted or not, gzipped or not, with a header or without."""

import csv
import itertools
import re
import zlib
from dataclasses import replace
from pathlib import Path

from aurora_cli.console import Advance
from aurora_cli.data.importing.columns import FILES, IMAGES, TEXTS, VIDEOS, Columns, find_columns, plain_name
from aurora_cli.data.importing.format import ImportFormat, Opened, Options, Rows
from aurora_cli.data.importing.item import Refused
from aurora_cli.data.importing.table import RowReader, row_reader
from aurora_cli.data.importing.table_text import (
    UNDECODABLE,
    Dialect,
    TableLines,
    Unclosed,
    csv_reader,
    dialect_of,
    open_text,
)
from aurora_cli.data.media.kinds import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from aurora_cli.errors import DataError, reason_of

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")


def suits(source: Path) -> bool:
    """By its name; a .txt by a header that names media and captions."""
    if not source.is_file():
        return False
    if source.name.lower().endswith(SUFFIXES):
        return True
    if source.suffix.lower() != ".txt":
        return False
    with open(source, "rb") as file:
        names = {plain_name(name) for name in re.split(r"[,\t;|]", file.readline(4_096).decode("utf-8", "replace"))}
    return bool(names & {*IMAGES, *VIDEOS, *FILES}) and bool(names & {*TEXTS})


def open_table(source: Path, options: Options) -> Opened:
    """Look at the header.

    Raises:
        UsageError: its columns do not say what they hold.
        DataError: it is empty or cannot be read.
    """
    dialect = dialect_of(source, options.encoding)
    header, columns = columns_of(source, dialect, options)
    reader = row_reader(columns)
    written = {"\t": "tabs"}.get(dialect.separator, repr(dialect.separator))
    about = (f"a table, separated by {written}" + ("" if header else ", without a header"), columns.line)

    def rows(advance: Advance) -> Rows:
        return table_rows(source, dialect, len(columns.names), reader, advance, skip=header)

    return Opened((source,), source.parent, about, rows, takes_rows=True)


def columns_of(source: Path, dialect: Dialect, options: Options) -> tuple[bool, Columns]:
    """Whether there is a header, and what the columns are. Without one, they are called 1, 2, ..."""
    with open_text(source, dialect.encoding) as (_, text):
        try:
            first = next((row for row in csv_reader(TableLines(text), dialect) if row), None)
        except (csv.Error, Unclosed) as error:
            raise DataError(f"{source}: is no table: {error}") from error
    if first is None:
        raise DataError(f"{source}: is empty")
    names = [name.strip() for name in first]
    media = [at for at, name in enumerate(names) if Path(name).suffix.lower() in IMAGE_SUFFIXES | VIDEO_SUFFIXES]
    if not media or any(name in (options.image_column, options.video_column) for name in names):
        return True, find_columns(names, options, str(source))
    numbers = [str(at + 1) for at in range(len(names))]
    if options.image_column is None and options.video_column is None:
        is_video = Path(names[media[0]]).suffix.lower() in VIDEO_SUFFIXES
        options = _with_media(options, numbers[media[0]], is_video=is_video)
    if options.text_column is None and len(names) == 2:
        options = replace(options, text_column=numbers[1 - media[0]])
    return False, find_columns(numbers, options, str(source))


def _with_media(options: Options, column: str, *, is_video: bool) -> Options:
    return replace(options, video_column=column) if is_video else replace(options, image_column=column)


def table_rows(source: Path, dialect: Dialect, width: int, reader: RowReader, advance: Advance, *, skip: bool) -> Rows:
    """Every row of a table; `skip`: but for the header."""
    name = source.name
    with open_text(source, dialect.encoding) as (file, text):
        lines, done = TableLines(text), 0
        table = csv_reader(lines, dialect)
        for number in itertools.count(1):
            if number % 1_024 == 0:
                advance((now := file.tell()) - done)
                done = now
            line = lines.begin_row()
            try:
                cells = next(table)
                if lines.has_ended:  # in the middle of a row
                    raise Unclosed("a quote does not end")
            except StopIteration:
                break
            except (UnicodeDecodeError, EOFError, zlib.error, OSError) as error:
                raise DataError(f"{source}: cannot be read from line {line} on: {reason_of(error)}") from error
            except (Unclosed, csv.Error) as error:
                lines.give_back()
                yield Refused(name, line, f"{name}:{line}", "bad_row", f"{error}; read on from line {line + 1}")
                continue
            if not cells:
                continue
            if skip:
                skip = False
            elif len(cells) != width:
                yield Refused(name, line, f"{name}:{line}", "bad_row", f"{len(cells)} columns, not {width}")
            elif not lines.is_ascii and any(map(UNDECODABLE.search, cells)):
                yield Refused(name, line, f"{name}:{line}", "bad_unicode", f"no {dialect.encoding}")
            else:
                yield from reader(cells, name, line)


FORMAT = ImportFormat("csv", ".csv, .tsv: a table with a header", suits, open_table, rank=20)
