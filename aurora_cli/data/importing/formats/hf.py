"""A folder that `datasets` saved (`save_to_disk`): a data set, or several splits of one. Media are in its cells."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aurora_cli.console import Advance
from aurora_cli.data.importing.columns import Columns, find_columns
from aurora_cli.data.importing.conversation_table import holds_conversations, rows_of
from aurora_cli.data.importing.format import ImportFormat, Opened, Options, Rows
from aurora_cli.data.importing.formats.parquet import holds_images, is_of_media
from aurora_cli.data.importing.table import row_reader
from aurora_cli.errors import DataError, reason_of
from aurora_cli.io.json_files import read_object

STATE, SPLITS = "state.json", "dataset_dict.json"
ROWS_AT_A_TIME = 64


def suits(source: Path) -> bool:
    """By the files that `save_to_disk` leaves."""
    return (source / STATE).is_file() or (source / SPLITS).is_file()


def folders_in(source: Path) -> list[Path]:
    """The folder of each split.

    Raises:
        DataError: one is not there.
    """
    if not (source / SPLITS).is_file():
        return [source]
    splits = read_object(source / SPLITS).get("splits", [])
    folders = [source / split for split in splits if isinstance(split, str)]
    if missing := [folder for folder in folders if not (folder / STATE).is_file()]:
        raise DataError(f"{missing[0]}: {SPLITS} names this split, and it is not there")
    return folders


def files_in(folder: Path) -> list[Path]:
    """The Arrow files of a split, in their order.

    Raises:
        DataError: one is not there.
    """
    state = read_object(folder / STATE)
    if state.get("_indices_files") or state.get("_indices_data_files"):
        raise DataError(
            f"{folder}: its rows are selected by an index",
            hint="Save it flat: data_set.flatten_indices().save_to_disk(...)",
        )
    files = [folder / entry["filename"] for entry in state.get("_data_files", [])]
    if missing := [file for file in files if not file.is_file()]:
        raise DataError(f"{missing[0]}: {STATE} names this file, and it is not there")
    return files


def open_data_set(source: Path, options: Options) -> Opened:
    """Look at the columns.

    Raises:
        UsageError: they do not say what they hold.
        DataError: a file is missing or cannot be read.
    """
    if not suits(source):
        raise DataError(f"{source}: is no folder that `datasets` saved: {STATE} is missing")
    files = [file for folder in folders_in(source) for file in files_in(folder)]
    if not files:
        raise DataError(f"{source}: holds no rows")
    schema, about = _schema(files[0]), "a folder that `datasets` saved"
    if options.text_column is None and holds_conversations(schema):

        def conversations(advance: Advance) -> Rows:
            for file in files:
                yield from conversation_rows(file, source, advance)

        return Opened(
            tuple(files), source, (f"{about}, of conversations",), conversations, holds_media=holds_images(schema)
        )
    columns = find_columns(schema.names, options, str(source))

    def rows(advance: Advance) -> Rows:
        for file in files:
            yield from file_rows(file, source, columns, advance)

    about = (about, columns.line)
    return Opened(tuple(files), source, about, rows, holds_media=_holds_media(files[0], columns), takes_rows=True)


def conversation_rows(file: Path, source: Path, advance: Advance) -> Rows:
    """The rows of one file of conversations."""
    name, line = file.relative_to(source).as_posix(), 1
    for batch in _batches(file, advance):
        for start in range(0, batch.num_rows, ROWS_AT_A_TIME):
            part = batch.slice(start, ROWS_AT_A_TIME)
            yield from rows_of(part, name, line)
            line += part.num_rows


def file_rows(file: Path, source: Path, columns: Columns, advance: Advance) -> Rows:
    """The rows of one file."""
    used = list(dict.fromkeys(columns.used.values()))
    positions: dict[str, Any] = {field: used.index(name) for field, name in columns.used.items()}
    reader = row_reader(columns._replace(names=tuple(used), **positions))
    name, line = file.relative_to(source).as_posix(), 0
    for batch in _batches(file, advance):
        for cells in _cells(batch, used):
            line += 1
            yield from reader(cells, name, line)


def _batches(file: Path, advance: Advance) -> Iterator[Any]:
    import pyarrow as pa

    line = done = 0
    try:
        with pa.OSFile(str(file)) as opened, _stream(opened) as batches:
            for batch in batches:
                yield batch
                line += batch.num_rows
                advance((now := opened.tell()) - done)
                done = now
    except (pa.ArrowInvalid, OSError, KeyError) as error:
        raise DataError(f"{file}: cannot be read after row {line}: {reason_of(error)}") from error


def _stream(opened: Any) -> Any:
    import pyarrow as pa

    return pa.ipc.open_stream(opened)


def _cells(batch: Any, used: list[str]) -> Iterator[tuple[Any, ...]]:
    for start in range(0, batch.num_rows, ROWS_AT_A_TIME):
        part = batch.slice(start, ROWS_AT_A_TIME)
        yield from zip(*(part.column(part.schema.get_field_index(name)).to_pylist() for name in used), strict=True)


def _schema(file: Path) -> Any:
    import pyarrow as pa

    try:
        with pa.OSFile(str(file)) as opened, _stream(opened) as batches:
            return batches.schema
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{file}: cannot be read: {reason_of(error)}") from error


def _holds_media(file: Path, columns: Columns) -> bool:
    schema = _schema(file)
    named = (at for at in (columns.image, columns.video, columns.file) if at is not None)
    return any(is_of_media(schema.field(at).type) for at in named)


FORMAT = ImportFormat(
    "hf", "a folder that `datasets` saved (state.json, dataset_dict.json)", suits, open_data_set, rank=1
)
