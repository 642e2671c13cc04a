"""A table in JSON: an object a line (`metadata.jsonl`), or an array of them; its keys are the columns."""

from itertools import islice
from pathlib import Path

from aurora_cli.console import Advance
from aurora_cli.data.annotations.files import raw_records
from aurora_cli.data.annotations.records import Rejection, decode_json
from aurora_cli.data.importing.columns import find_columns
from aurora_cli.data.importing.format import ImportFormat, Opened, Options, Rows
from aurora_cli.data.importing.item import Refused
from aurora_cli.data.importing.json_text import head_of
from aurora_cli.data.importing.table import row_reader
from aurora_cli.errors import DataError

ROWS_LOOKED_AT = 200


def suits(source: Path) -> bool:
    """Any JSON whose rows are objects: which is why others are tried before."""
    head = head_of(source)
    return head.startswith("{") or head[1:].lstrip().startswith("{")


def open_rows(source: Path, options: Options) -> Opened:
    """Look at the keys of the first rows.

    Raises:
        UsageError: they do not say what they hold.
        DataError: there is no row.
    """
    names: dict[str, None] = {}
    for _, raw in islice(raw_records(source), ROWS_LOOKED_AT):
        try:
            names |= dict.fromkeys(decode_json(raw))
        except Rejection:
            continue
    if not names:
        raise DataError(f"{source}: holds no row that is a JSON object")
    columns = find_columns(list(names), options, str(source))
    reader = row_reader(columns)

    def rows(advance: Advance) -> Rows:
        for line, raw in raw_records(source, advance):
            try:
                value = decode_json(raw)
            except Rejection as rejection:
                name = f"{source.name}:{line}"
                yield Refused(source.name, line, name, rejection.reason, rejection.detail)
                continue
            yield from reader([value.get(name) for name in columns.names], source.name, line)

    return Opened((source,), source.parent, ("objects whose keys are columns", columns.line), rows, takes_rows=True)


FORMAT = ImportFormat(
    "jsonl", "a .jsonl (or an array in a .json) of objects with a file name and a caption", suits, open_rows, rank=60
)
