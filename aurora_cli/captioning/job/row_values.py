"""The rows of a list of media as objects, each with its line: of JSON lines, of a table in text, or of Parquet."""

import csv
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

from aurora_cli.config.share import Share
from aurora_cli.data.annotations.file_forms import decompressed
from aurora_cli.data.annotations.files import check_form, lines
from aurora_cli.data.annotations.records import Rejection, decode_json
from aurora_cli.errors import DataError

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

Value = Mapping[str, object]
ALL = Share(0, 1)


def columns_of(path: Path) -> list[str]:
    """Of a table."""
    if path.suffix.lower() == ".parquet":
        return list(_parquet(path).schema_arrow.names)
    with _opened(path) as file:
        return next(csv.reader(file, delimiter=_delimiter(path)), [])


def values_of(path: Path, share: Share = ALL) -> Iterator[tuple[int, Value | Rejection | None]]:
    """Each row with its line in the file, from 1 (its number in Parquet); or why it is none.

    Rows of other shares are counted and not looked into: None.
    """
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        yield from _of_parquet(path, share)
    elif suffix in (".csv", ".tsv"):
        yield from _of_csv(path, share)
    else:
        yield from _of_lines(path, share)


def check_lines(path: Path) -> None:
    """
    Raises:
        DataError: the file does not hold a row a line; the message says what it holds.
    """
    first = next(_of_lines(path, ALL), None)
    if first is None or first[1] is None or isinstance(first[1], Rejection) or "media" not in first[1]:
        check_form(path)


def _of_lines(path: Path, share: Share) -> Iterator[tuple[int, Value | Rejection | None]]:
    line = 0
    try:
        with open(path, "rb") as file, decompressed(path, file) as stream:
            for position, (line, raw) in enumerate(lines(stream)):
                try:
                    yield line, decode_json(raw) if share.takes(position) else None
                except Rejection as rejection:
                    yield line, rejection
    except (EOFError, zlib.error, OSError) as error:
        raise DataError(f"{path}: cannot be read after line {line}: {error}") from error


def _of_csv(path: Path, share: Share) -> Iterator[tuple[int, Value | Rejection | None]]:
    """The rows of a table in text. An empty cell says nothing."""
    with _opened(path) as file:
        rows = csv.reader(file, delimiter=_delimiter(path), strict=True)
        names = next(rows, [])
        position = -1
        while True:
            line = rows.line_num + 1
            try:
                row = next(rows, None)
            except csv.Error as error:
                position += 1
                failed = Rejection("bad_csv", f"not a row of the table: {error}")
                yield line, failed if share.takes(position) else None
                continue
            if row is None:
                return
            position += bool(row)
            if row and not share.takes(position):
                yield line, None
            elif len(row) > len(names):
                yield line, Rejection("bad_csv", f"it has {len(row)} cells, and there are {len(names)} columns")
            elif row:
                yield line, {name: cell for name, cell in zip(names, row, strict=False) if cell}


def _of_parquet(path: Path, share: Share) -> Iterator[tuple[int, Value | None]]:
    from pyarrow.lib import ArrowException

    number = 0
    try:
        for batch in _parquet(path).iter_batches(1024):
            own = [index for index in range(batch.num_rows) if share.takes(number + index)]
            values = dict(zip(own, batch.take(own).to_pylist(), strict=True)) if own else {}
            for index in range(batch.num_rows):
                number += 1
                yield number, values.get(index)
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
