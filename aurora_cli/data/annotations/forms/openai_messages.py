"""OpenAI's form, with media as parts of `content` (OpenAI, Qwen), or beside `messages` (LLaMA-Factory, ms-swift)."""

from aurora_cli.data.annotations.conversation import PART_KEYS, RECORD_KEYS, TURN_KEYS, Names, conversation
from aurora_cli.data.annotations.keys import Key, KeyTable, Reading
from aurora_cli.data.annotations.records import Record
from aurora_cli.data.annotations.schema import RecordSchema
from aurora_cli.io.json_files import JsonObject

NAMES = Names("messages", ("role", "from"), ("content", "value"))


def read(value: JsonObject, location: str, reading: Reading) -> Record:
    """A record of OpenAI's form."""
    return conversation(value, location, reading, NAMES)


SCHEMA = RecordSchema(
    name="openai-messages",
    sign=NAMES.turns,
    form='{"messages": [{"role", "content": text | [part]}], "images": [path], "videos": [path]}',
    keys=KeyTable(Key((NAMES.turns,), "read", "The turns."), *RECORD_KEYS),
    inner_keys={"message": TURN_KEYS, "part": PART_KEYS},
    read=read,
    rank=1,
)
