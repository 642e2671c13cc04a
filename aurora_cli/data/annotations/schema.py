"""What a record schema is: a name, the field that it is known by, the keys that it knows, and how one is read."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from aurora_cli.data.annotations.keys import KeyTable, Reading
from aurora_cli.data.annotations.plain_records import PlainRecords
from aurora_cli.data.annotations.records import Record
from aurora_cli.io.json_files import JsonObject


class RecordSchema(NamedTuple):
    """A form of records. `read` gets an object, what its id is if it has none, and what it notes the keys in."""

    name: str
    """As `--schema` takes it."""
    sign: str
    """The field by which a record of this form is recognised."""
    form: str
    """An example, for people."""
    keys: KeyTable
    """Of the record itself."""
    inner_keys: Mapping[str, KeyTable]
    """Of objects inside, by what they are called."""
    read: Callable[[JsonObject, str, Reading], Record]
    """Raises a `Rejection` where a record cannot be used."""
    plain: PlainRecords | None = None
    """Reads those in which nothing is unusual as `read` does, and faster."""
    rank: int = 0
    """A record with the fields of several forms is of the one of the lowest rank; of equals, by name."""
