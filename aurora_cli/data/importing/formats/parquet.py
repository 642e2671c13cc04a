"""Parquet tables: a file, or a folder of them (the parts of one table), with paths or with the media in their cells."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from aurora_cli.console import Advance
from aurora_cli.data.annotations.paths import IMAGE_KEYS
from aurora_cli.data.importing.columns import Columns, find_columns
from aurora_cli.data.importing.conversation_table import holds_conversations, rows_of
from aurora_cli.data.importing.format import ImportFormat, Opened, Options, Rows
from aurora_cli.data.importing.table import row_reader
from aurora_cli.errors import DataError, reason_of

ROWS_AT_A_TIME = 4_096
ROWS_WITH_MEDIA = 64
"""Rows may hold whole images and videos."""
SPLIT = re.compile(r"(?:train|training|validation|valid|val|dev|test)(?=[-_.])", re.IGNORECASE)
"""What a part of a data set's split is called by."""


def parts_of(source: Path) -> list[Path]:
    """The files of a table."""
    return sorted(source.rglob("*.parquet")) if source.is_dir() else [source]


def suits(source: Path) -> bool:
    """By its first bytes, or by its files' names."""
    if source.is_dir():
        return any(not is_log(file) for below in (".", "data") for file in (source / below).glob("*.parquet"))
    with open(source, "rb") as file:
        return file.read(4) == b"PAR1"


def is_log(file: Path) -> bool:
    """Whether a table is img2dataset's about the files that it saved, in a folder of the table's name, with texts."""
    return file.with_suffix("").is_dir()


def open_table(source: Path, options: Options) -> Opened:
    """Look at the columns.

    Raises:
        UsageError: they do not say what they hold.
        DataError: a file cannot be read, or has other columns than the first.
    """
    files = parts_of(source)
    names = _names(files[0])
    for file in files[1:]:
        if (other := _names(file)) != names:
            raise DataError(f"{file}: has the columns {', '.join(other)}; {files[0].name} has {', '.join(names)}")
    root, parts = source if source.is_dir() else source.parent, f"a Parquet table in {parts_line(files)}"
    schema = _schema(files[0])
    if options.text_column is None and holds_conversations(schema):

        def conversations(advance: Advance) -> Rows:
            for file in files:
                yield from conversation_rows(file, source, advance)

        return Opened(
            tuple(files), root, (f"{parts}, of conversations",), conversations, holds_media=holds_images(schema)
        )
    columns = find_columns(names, options, str(source))
    holds_media = _holds_media(files[0], columns)

    def rows(advance: Advance) -> Rows:
        for file in files:
            yield from file_rows(file, source, columns, advance, ROWS_WITH_MEDIA if holds_media else ROWS_AT_A_TIME)

    return Opened(tuple(files), root, (parts, columns.line), rows, holds_media=holds_media, takes_rows=True)


def parts_line(files: Sequence[Path]) -> str:
    """How many files there are, and which splits of a data set, for people."""
    splits = sorted({found[0].lower() for file in files if (found := SPLIT.match(file.name))})
    named = f", splits {', '.join(splits)}" if len(splits) > 1 else ""
    return f"{len(files)} file{'s' if len(files) > 1 else ''}{named}"


def conversation_rows(file: Path, source: Path, advance: Advance) -> Rows:
    """The rows of one file of conversations."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    name, line = name_of(file, source), 1
    try:
        with pq.ParquetFile(file, memory_map=False, pre_buffer=False) as table:
            share = file.stat().st_size / max(1, table.metadata.num_rows)
            for batch in table.iter_batches(batch_size=ROWS_WITH_MEDIA):
                advance(round(share * batch.num_rows))
                yield from rows_of(batch, name, line)
                line += batch.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{file}: cannot be read after row {line - 1}: {reason_of(error)}") from error


def name_of(file: Path, source: Path) -> str:
    """What a file is called in records and rejects."""
    return file.relative_to(source).as_posix() if source.is_dir() else file.name


def file_rows(file: Path, source: Path, columns: Columns, advance: Advance, at_a_time: int) -> Rows:
    """The rows of one file; only the columns that are used are read."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    used = list(dict.fromkeys(columns.used.values()))
    reader = row_reader(_positions(columns, used))
    name, line = name_of(file, source), 0
    try:
        with pq.ParquetFile(file, memory_map=False, pre_buffer=False) as table:
            share = file.stat().st_size / max(1, table.metadata.num_rows)
            for batch in table.iter_batches(batch_size=at_a_time, columns=used):
                advance(round(share * batch.num_rows))
                for cells in _cells(batch, used):
                    line += 1
                    yield from reader(cells, name, line)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{file}: cannot be read after row {line}: {reason_of(error)}") from error


def _cells(batch: Any, used: list[str]) -> Iterator[tuple[Any, ...]]:
    return zip(*(batch.column(name).to_pylist() for name in used), strict=True)


def _positions(columns: Columns, used: list[str]) -> Columns:
    """The columns where only those that are used are read."""
    positions: dict[str, Any] = {field: used.index(name) for field, name in columns.used.items()}
    return columns._replace(names=tuple(used), **positions)


def _names(file: Path) -> list[str]:
    return _schema(file).names


def _schema(file: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_schema(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{file}: cannot be read: {reason_of(error)}") from error


def _holds_media(file: Path, columns: Columns) -> bool:
    schema = _schema(file)
    named = (at for at in (columns.image, columns.video, columns.file) if at is not None)
    return any(is_of_media(schema.field(columns.names[at]).type) for at in named)


def holds_images(schema: Any) -> bool:
    """Whether the images of conversations lie in the cells of a table of this Arrow schema."""
    return any(is_of_media(schema.field(name).type) for name in schema.names if name in IMAGE_KEYS)


def is_of_media(kind: Any) -> bool:
    """Whether cells of a type hold media, by themselves or in a list."""
    import pyarrow as pa

    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    return pa.types.is_struct(kind) or pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


FORMAT = ImportFormat("parquet", ".parquet: a table, its media as paths or in its cells", suits, open_table, rank=10)
