"""The record schemas that are known, and how a line becomes a record by one of them.

A schema is a module in `forms/` with a `SCHEMA`: it is found there, and nothing else lists them.
"""

import importlib
import pkgutil
from collections.abc import Iterable
from typing import cast

from aurora_cli.constants import IMAGE, VIDEO
from aurora_cli.data.annotations import forms
from aurora_cli.data.annotations.keys import GROUP, KeyCounts, Reading
from aurora_cli.data.annotations.records import (
    REASONS,
    Message,
    Record,
    Rejection,
    check_unicode,
    decode_json,
    explained,
    shortened,
)
from aurora_cli.data.annotations.schema import RecordSchema
from aurora_cli.errors import UsageError
from aurora_cli.io.json_files import JsonObject

AUTO = "auto"
"""Stands for the schema that each record is recognised by."""


def _found() -> dict[str, RecordSchema]:
    names = [found.name for found in pkgutil.iter_modules(forms.__path__)]
    modules = [importlib.import_module(f"{forms.__name__}.{name}") for name in names]
    schemas = [cast(RecordSchema, module.SCHEMA) for module in modules]
    return {schema.name: schema for schema in sorted(schemas, key=lambda schema: (schema.rank, schema.name))}


SCHEMAS = _found()
SIGNS: dict[str, str] = {schema.sign: schema.name for schema in SCHEMAS.values()}
"""The field by which a record's schema is recognised; the first that it has."""


def check_schema(name: str) -> str:
    """The name, if a schema has it, or if it stands for all of them.

    Raises:
        UsageError: none has it.
    """
    if name != AUTO and name not in SCHEMAS:
        raise UsageError(
            f"tokenize.record_schema: {name!r} is no record schema; there are {', '.join([AUTO, *SCHEMAS])}",
            hint="aurora tokenize --schema auto recognises each record by its fields.",
        )
    return name


def meaning_of(reason: str) -> str:
    """What a reason of a rejection means, with the names that schemas have for it."""
    if reason != "no_conversation":
        return REASONS.get(reason, "")
    names = [f"`{sign}`" for sign in SIGNS]
    return f"None of {', '.join(names[:-1])} and {names[-1]} is there, or it is not a list of objects."


def parse_record(
    raw: bytes, location: str, schema: str = AUTO, counts: KeyCounts | None = None, *, in_order: bool = False
) -> Record:
    """The record in `raw`. `location` (`<file>:<line>`) becomes the id of one that has none.

    >>> parse_record(b'{"image": "a.jpg", "conversations": [{"from": "user", "value": "<image>"}]}', "x.jsonl:7").id
    'x.jsonl:7'

    Raises:
        Rejection: it cannot be used.
    """
    value = decode_json(raw)
    name = recognised(value) if schema == AUTO else schema
    return record_of(value, location, name, counts, in_order=in_order)


def recognised(value: JsonObject) -> str:
    """The schema of a record, by the first of the known fields that it has."""
    for sign, name in SIGNS.items():
        if sign in value:
            return name
    raise Rejection("no_conversation", f"none of {', '.join(SIGNS)} among its fields: {shortened([*value])}")


def record_of(
    value: JsonObject, location: str, schema: str, counts: KeyCounts | None = None, *, in_order: bool = False
) -> Record:
    """The record in a JSON object, read by this schema. Its keys are added to `counts`.

    Raises:
        Rejection: it cannot be used.
    """
    form = SCHEMAS[schema]
    record = None if form.plain is None else form.plain.read(value, location, counts)
    if record is None:
        record = read_closely(form, value, location, counts, in_order=in_order)
    check_unicode(record)
    return with_video_placeholder(record)


def read_closely(
    form: RecordSchema, value: JsonObject, location: str, counts: KeyCounts | None, *, in_order: bool
) -> Record:
    """The record with every key looked at: read, warned of, or a reason to reject it."""
    reading = Reading(in_order=in_order)
    try:
        record = form.read(value, location, reading)
        if (group := group_of(value)) is not None:
            record = record._replace(group=group)
            reading.read.add(GROUP)
        reading.unread.update(form.keys.unread(value))
    finally:
        unread = sorted(reading.unread - reading.read) if reading.unread else ()
        if counts is not None:
            counts.add(sorted(reading.read), unread)
    if record.images and record.video:
        raise Rejection("mixed_media", f"{len(record.images)} images and a video")
    if not unread:
        return record
    check_sound(record, unread)
    return record._replace(unread=tuple(unread))


def group_of(value: JsonObject) -> str | None:
    """The record's group, as text.

    >>> group_of({"group": 7}), group_of({"group": ""}), group_of({"group": ["a"]})
    ('7', None, None)
    """
    group = value.get(GROUP)
    return str(group) if isinstance(group, str | int) and not isinstance(group, bool) and group != "" else None


def check_sound(record: Record, unread: Iterable[str]) -> None:
    """
    Raises:
        Rejection: a question is about what is heard.
    """
    if any(name.startswith("audio") for name in unread) and any("<audio>" in one.text for one in record.messages):
        raise Rejection("unread_key", f"{', '.join(unread)}: and <audio> in a question; sound is not read")


def with_video_placeholder(record: Record) -> Record:
    """The record, `<video>` where its video goes: with a video and no image, the only `<image>` says that too.

    Raises:
        Rejection: a question is about a video, and there is none.
    """
    questions = [message.text for message in record.messages if message.role == "human"]
    if record.video is None and not record.is_frame_list:
        for text in questions:
            if VIDEO in text and is_for_video(text):
                count = sum(text.count(VIDEO) for text in questions)
                raise explained(Rejection("video_count", f"no video, {count} {VIDEO}"), record)
        return record
    placeholders = sum(text.count(IMAGE) for text in questions)
    if placeholders != 1 or any(VIDEO in text for text in questions):
        return record
    return record._replace(messages=[_with_video(message) for message in record.messages])


def _with_video(message: Message) -> Message:
    return message._replace(text=message.text.replace(IMAGE, VIDEO)) if message.role == "human" else message


def is_for_video(text: str) -> bool:
    """Whether `<video>` in a question stands for a video, and is no word: at its edge, or on a line of its own.

    >>> is_for_video("<video>\\nWhat happens?"), is_for_video("What does the tag <video> do in HTML?")
    (True, False)
    """
    words = text.strip()
    return words.startswith(VIDEO) or words.endswith(VIDEO) or any(line.strip() == VIDEO for line in text.split("\n"))
