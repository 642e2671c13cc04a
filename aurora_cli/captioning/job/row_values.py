"""The rows of a list of media as objects, each with its line: of JSON lines, of a table in text, or of Parquet.

They come by the block, and are not looked into before somebody asks for one.
"""

import csv
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np

from aurora_cli.config.share import ALL, Share
from aurora_cli.data.annotations.file_forms import BOM, decompressed
from aurora_cli.data.annotations.files import check_form
from aurora_cli.data.annotations.records import Rejection, decode_json
from aurora_cli.errors import DataError

if TYPE_CHECKING:
    from pyarrow import RecordBatch, Table
    from pyarrow.parquet import ParquetFile

Value = Mapping[str, object]
BLOCK_BYTES = 1 << 20
BLOCK_ROWS = 4096


class RowBlock(NamedTuple):
    """Some rows of a list, of one share."""

    total: int
    """Rows of all shares among which they are."""
    lines: np.ndarray
    """(N,) the line of each in the file, from 1 (its number in Parquet)."""
    value: Callable[[int], Value | Rejection]
    """The object of a row, by its index here; or why it is none."""
    columns: Callable[[], "Table | None"]
    """All of them as a table, with the types that its columns happen to have; none: they make none."""
    in_file: int = 0
    """About how many rows the file has in all, by this block; 0: that is not known."""


def columns_of(path: Path) -> list[str]:
    """Of a table."""
    if path.suffix.lower() == ".parquet":
        return list(_parquet(path).schema_arrow.names)
    with _opened(path) as file:
        return next(csv.reader(file, delimiter=_delimiter(path)), [])


def blocks_of(path: Path, share: Share = ALL) -> Iterator[RowBlock]:
    """The rows of a file, or of a share of them, in their order.

    Raises:
        DataError: the file cannot be read to its end.
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
    first = next((block.value(0) for block in _of_lines(path, ALL)), None)
    if first is None or isinstance(first, Rejection) or "media" not in first:
        check_form(path)


class _Lines(NamedTuple):
    numbers: Sequence[int]
    raws: Sequence[bytes]


def _of_lines(path: Path, share: Share) -> Iterator[RowBlock]:
    line = position = 0
    try:
        with open(path, "rb") as file, decompressed(path, file) as stream:
            for numbers, raws in _blocks_of_lines(stream):
                line = numbers[-1]
                own = slice((share.index - position) % share.count, None, share.count)
                block = _block_of_lines(_Lines(numbers[own], raws[own]), len(raws))
                if not position and path.suffix != ".gz":
                    size = sum(map(len, raws)) + len(raws)
                    block = block._replace(in_file=path.stat().st_size * len(raws) // size)
                yield block
                position += len(raws)
    except (EOFError, zlib.error, OSError) as error:
        raise DataError(f"{path}: cannot be read after line {line}: {error}") from error


def _blocks_of_lines(stream: IO[bytes]) -> Iterator[_Lines]:
    """The lines that are not empty; a byte order mark at the beginning is none of the first."""
    number, rest = 1, stream.read(len(BOM)).removeprefix(BOM)
    while block := stream.read(BLOCK_BYTES):
        *raws, rest = (rest + block).split(b"\n")
        lines = _Lines(range(number, number + len(raws)), raws)
        if b"" in raws or any(map(bytes.isspace, raws)):
            full = [index for index, raw in enumerate(raws) if raw.strip()]
            lines = _Lines([number + index for index in full], [raws[index] for index in full])
        number += len(raws)
        if lines.raws:
            yield lines
    if rest.strip():
        yield _Lines([number], [rest])


def _block_of_lines(own: _Lines, total: int) -> RowBlock:
    def value(index: int) -> Value | Rejection:
        try:
            return decode_json(own.raws[index].strip())
        except Rejection as rejection:
            return rejection

    def columns() -> "Table | None":
        from aurora_cli.captioning.job.plain_keys import parsed_lines

        return parsed_lines(own.raws, {}, others=True)

    return RowBlock(total, np.array(own.numbers, np.int64), value, columns)


def _of_csv(path: Path, share: Share) -> Iterator[RowBlock]:
    """The rows of a table in text. An empty cell says nothing."""
    rows = enumerate(_csv_rows(path))
    while block := list(islice(rows, BLOCK_ROWS)):
        own = [row for position, row in block if share.takes(position)]
        lines = np.fromiter((line for line, _ in own), np.int64, len(own))
        yield RowBlock(len(block), lines, [value for _, value in own].__getitem__, lambda: None)


def _csv_rows(path: Path) -> Iterator[tuple[int, Value | Rejection]]:
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


def _of_parquet(path: Path, share: Share) -> Iterator[RowBlock]:
    from pyarrow.lib import ArrowException

    number = 0
    try:
        file = _parquet(path)
        for batch in file.iter_batches(BLOCK_ROWS):
            own = np.arange((share.index - number) % share.count, batch.num_rows, share.count)
            block = _block_of_batch(batch.take(own) if share.count > 1 else batch, own + number + 1, batch.num_rows)
            yield block._replace(in_file=file.metadata.num_rows)
            number += batch.num_rows
    except (ArrowException, OSError) as error:
        raise DataError(f"{path}: cannot be read after row {number}: {error}") from error


def _block_of_batch(batch: "RecordBatch", lines: np.ndarray, total: int) -> RowBlock:
    from pyarrow import Table

    return RowBlock(
        total, lines, lambda index: batch.slice(index, 1).to_pylist()[0], lambda: Table.from_batches([batch])
    )


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
