"""`datasets`' imagefolder and videofolder: media with a `metadata.jsonl`, `.csv` or `.parquet`, one or several."""

from pathlib import Path

from aurora_cli.console import Advance
from aurora_cli.data.importing.format import ImportFormat, Opened, Options, Rows
from aurora_cli.data.importing.formats import csv_file, json_rows, parquet
from aurora_cli.data.importing.item import Item
from aurora_cli.errors import DataError

OPENERS = {".jsonl": json_rows.open_rows, ".csv": csv_file.open_table, ".parquet": parquet.open_table}


def tables_in(source: Path) -> list[Path]:
    """The metadata files of a folder, and of the folders in it, two deep."""
    patterns = (f"{below}metadata{suffix}" for below in ("", "*/", "*/*/") for suffix in OPENERS)
    return sorted(path for pattern in patterns for path in source.glob(pattern))


def suits(source: Path) -> bool:
    """By the name of a file in it."""
    return source.is_dir() and bool(tables_in(source))


def open_folder(source: Path, options: Options) -> Opened:
    """Look at each metadata file.

    Raises:
        DataError: there is none.
        UsageError: the columns of one do not say what they hold.
    """
    tables = tables_in(source) if source.is_dir() else []
    if not tables:
        raise DataError(f"{source}: is no folder with a metadata.jsonl, .csv or .parquet")
    opened = [OPENERS[table.suffix](table, options) for table in tables]

    def rows(advance: Advance) -> Rows:
        for table, one in zip(tables, opened, strict=True):
            below = table.parent.relative_to(source).as_posix()
            prefix = "" if below == "." else f"{below}/"
            for row in one.rows(advance):
                if isinstance(row, Item):
                    media = tuple(path if path.startswith("/") else prefix + path for path in row.media)
                    yield row._replace(file=prefix + row.file, media=media, id=_named(row.id, row.file, prefix))
                else:
                    yield row._replace(file=prefix + row.file, id=_named(row.id, row.file, prefix))

    about = [f"{table.relative_to(source)}: {'; '.join(one.about)}" for table, one in zip(tables, opened, strict=True)]
    return Opened(tuple(tables), source, tuple(about), rows, is_root_known=True, takes_rows=True)


def _named(name: str, file: str, prefix: str) -> str:
    """An id that is a file's line names the file as it is named here."""
    return prefix + name if name.startswith(f"{file}:") else name


FORMAT = ImportFormat(
    "metadata", "a folder of media with a metadata.jsonl, .csv or .parquet", suits, open_folder, rank=5
)
