"""The rows of a list of media as objects, each with its line: of JSON lines, of a table in text, or of Parquet."""

import csv
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

from aurora_cli.data.annotations.file_forms import decompressed
from aurora_cli.data.annotations.files import check_form, lines
from aurora_cli.data.annotations.records import Rejection, decode_json
from aurora_cli.errors import DataError

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

Value = Mapping[str, object]


def columns_of(path: Path) -> list[str]:
    """Of a table."""
    if path.suffix.lower() == ".parquet":
        return list(_parquet(path).schema_arrow.names)
    with _opened(path) as file:
        return next(csv.reader(file, delimiter=_delimiter(path)), [])


def values_of(path: Path) -> Iterator[tuple[int, Value | Rejection]]:
    """Each row with its line in the file, from 1 (its number in Parquet); or why it is none."""
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield from _of_parquet(path)
    elif suffix in (".csv", ".tsv"):
        yield from _of_csv(path)
    else:
        yield from _of_lines(path)


def check_lines(path: Path) -> None:
    """
    Raises:
        DataError: the file does not hold a row a line; the message says what it holds.
    """
    first = next(_of_lines(path), None)
    if first is None or isinstance(first[1], Rejection) or "media" not in first[1]:
        check_form(path)


def _of_lines(path: Path) -> Iterator[tuple[int, Value | Rejection]]:
    line = 0
    try:
        with open(path, "rb") as file, decompressed(path, file) as stream:
            for line, raw in lines(stream):
                try:
                    yield line, decode_json(raw)
                except Rejection as rejection:
                    yield line, rejection
    except (EOFError, zlib.error, OSError) as error:
        raise DataError(f"{path}: cannot be read after line {line}: {error}") from error


def _of_csv(path: Path) -> Iterator[tuple[int, Value | Rejection]]:
    """The rows of a table in text. An empty cell says nothing."""
    with _opened(path) as file:
        rows = csv.reader(file, delimiter=_delimiter(path), strict=True)
        names = next(rows, [])
        while True:
            line = rows.line_num + 1
            try:
                row = next(rows, None)
            except csv.Error as error:
                yield line, Rejection("bad_csv", f"not a row of the table: {error}")
                continue
            if row is None:
                return
            if len(row) > len(names):
                yield line, Rejection("bad_csv", f"it has {len(row)} cells, and there are {len(names)} columns")
            elif row:
                yield line, {name: cell for name, cell in zip(names, row, strict=False) if cell}


def _of_parquet(path: Path) -> Iterator[tuple[int, Value]]:
    from pyarrow.lib import ArrowException

    number = 0
    try:
        for batch in _parquet(path).iter_batches(1024):
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read after row {number}: {error}") from error


def _parquet(path: Path) -> "ParquetFile":
    from pyarrow.lib import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        return ParquetFile(path)
    except (ArrowException, OSError) as error:
        raise DataError(f"{path}: is not a readable Parquet file: {error}") from error


def _opened(path: Path) -> IO[str]:
    return open(path, encoding="utf-8-sig", errors="surrogateescape", newline="")  # such a row is rejected, alone


def _delimiter(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","
