"""LLaVA's form: also that of ShareGPT4V, ALLaVA, Cambrian, LLaVA-Video-178K and the AuroraCap training set."""

from aurora_cli.data.annotations.conversation import PART_KEYS, RECORD_KEYS, TURN_KEYS, Names, conversation
from aurora_cli.data.annotations.keys import Key, KeyTable, Reading
from aurora_cli.data.annotations.records import Record
from aurora_cli.data.annotations.schema import RecordSchema
from aurora_cli.io.json_files import JsonObject

NAMES = Names("conversations", ("from", "role"), ("value", "content"))


def read(value: JsonObject, location: str, reading: Reading) -> Record:
    """A record of LLaVA's form."""
    return conversation(value, location, reading, NAMES)


SCHEMA = RecordSchema(
    name="llava",
    sign=NAMES.turns,
    form='{"id", "image": path | [path], "video": path | [path], "conversations": [{"from", "value"}]}',
    keys=KeyTable(Key((NAMES.turns,), "read", "The turns."), *RECORD_KEYS),
    inner_keys={"message": TURN_KEYS, "part": PART_KEYS},
    read=read,
)
