"""The rows of a list of media as objects, each with its line: of JSON lines, of a table in text, or of Parquet.

They come by the block, and are not looked into before somebody asks for one.
"""

import csv
import zlib
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple

import numpy as np

from aurora_cli.captioning.job.stored_lines import LineBlock, line_blocks
from aurora_cli.config.share import ALL, Share
from aurora_cli.data.annotations.file_forms import BOM, decompressed
from aurora_cli.data.annotations.files import check_form
from aurora_cli.data.annotations.records import Rejection, decode_json
from aurora_cli.errors import DataError, reason_of

if TYPE_CHECKING:
    from pyarrow import RecordBatch, Table
    from pyarrow.parquet import ParquetFile

Value = Mapping[str, object]
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


def _of_lines(path: Path, share: Share) -> Iterator[RowBlock]:
    line = position = 0
    try:
        with open(path, "rb") as file, decompressed(path, file) as stream:
            for found in line_blocks(stream, stream.read(len(BOM)).removeprefix(BOM)):
                numbers = _numbers(found, line)
                if not len(numbers):
                    line += found.count
                    continue
                own = slice((share.index - position) % share.count, None, share.count)
                block = _block_of_lines(found, numbers, own)
                if not position and path.suffix != ".gz":
                    block = block._replace(in_file=path.stat().st_size * len(numbers) // len(found.raw))
                yield block
                line += found.count
                position += len(numbers)
    except (EOFError, zlib.error, OSError) as error:
        raise DataError(f"{path}: cannot be read after line {line}: {reason_of(error)}") from error


def _numbers(block: LineBlock, before: int) -> np.ndarray:
    """(N,) the number in the file of each line that is not empty, if so many come before."""
    if block.are_objects:
        return np.arange(before + 1, before + block.count + 1)
    lines = block.raw.split(b"\n")[:-1]
    return np.array([number for number, line in enumerate(lines, start=before + 1) if line.strip()], np.int64)


def _block_of_lines(found: LineBlock, numbers: np.ndarray, own: slice) -> RowBlock:
    def value(index: int) -> Value | Rejection:
        try:
            return decode_json(found.lines[own.start + index * own.step].strip())
        except Rejection as rejection:
            return rejection

    def columns() -> "Table | None":
        from aurora_cli.captioning.job.plain_keys import parsed_lines

        if own.step == 1:
            return parsed_lines(found, {}, others=True)
        return parsed_lines(LineBlock(b"\n".join([*found.lines[own], b""])), {}, others=True)

    return RowBlock(len(numbers), numbers[own], value, columns)


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
        raise DataError(f"{path}: cannot be read after row {number}: {reason_of(error)}") from error


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
        raise DataError(f"{path}: is not a readable Parquet file: {reason_of(error)}") from error


def _opened(path: Path) -> IO[str]:
    return open(path, encoding="utf-8-sig", errors="surrogateescape", newline="")  # such a row is rejected, alone


def _delimiter(path: Path) -> str:
    return "\t" if path.suffix.lower() == ".tsv" else ","
