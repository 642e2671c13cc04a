"""Conversations in pairs of a question and its answer, with media beside them that need no place among the words."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from aurora_cli.constants import IMAGE, VIDEO
from aurora_cli.data.annotations.conversation import RECORD_KEYS, record_about, with_record_keys
from aurora_cli.data.annotations.keys import Key, KeyTable, Reading, says_something
from aurora_cli.data.annotations.paths import Beside, media_in
from aurora_cli.data.annotations.records import Message, Record, Rejection, shortened, text_of
from aurora_cli.data.annotations.schema import RecordSchema
from aurora_cli.io.json_files import JsonObject


class Pair(NamedTuple):
    """A question, in parts that follow a line each, and its answer, as a record has them."""

    question: Sequence[object]
    answer: object


def pairs_schema(
    name: str, sign: str, form: str, keys: Sequence[Key], pairs_in: Callable[[JsonObject], list[Pair]], rank: int
) -> RecordSchema:
    """The schema of records that `pairs_in` finds the pairs of; `keys` are those that it reads."""

    def read(value: JsonObject, location: str, reading: Reading) -> Record:
        messages = with_record_keys([*messages_of(pairs_in(value))], value, reading)
        beside = media_in(value, reading)
        return record_about(value, location, with_placeholders(messages, beside), beside, reading)

    return RecordSchema(
        name=name, sign=sign, form=form, keys=KeyTable(*keys, *RECORD_KEYS), inner_keys={}, read=read, rank=rank
    )


def messages_of(pairs: Sequence[Pair]) -> list[Message]:
    """
    Raises:
        Rejection: there is no pair, a part of one is no text, or a question has no words.
    """
    if not pairs:
        raise Rejection("no_conversation", "no question and answer")
    messages = []
    for index, pair in enumerate(pairs):
        parts = [text_of(part, 2 * index, "question").strip() for part in pair.question if says_something(part)]
        question = "\n".join(filter(None, parts))
        if not question:
            raise Rejection("null_text", f"turn {2 * index} (question)")
        messages += [Message("human", question), Message("gpt", text_of(pair.answer, 2 * index + 1, "answer"))]
    return messages


def with_placeholders(messages: list[Message], beside: Beside) -> list[Message]:
    """The messages, with those of the media in front of the first question where no question has any."""
    marks = VIDEO if beside.video is not None else IMAGE * len(beside.images or ())
    questions = [index for index, message in enumerate(messages) if message.role == "human"]
    if not marks or any(mark in messages[index].text for index in questions for mark in (IMAGE, VIDEO)):
        return messages
    first = questions[0]
    question = messages[first]._replace(text=f"{marks}\n{messages[first].text}")
    return [*messages[:first], question, *messages[first + 1 :]]


def objects_under(value: JsonObject, key: str) -> list[JsonObject]:
    """
    Raises:
        Rejection: what is there is no list of objects.
    """
    listed = value.get(key)
    if not isinstance(listed, list) or not all(isinstance(one, dict) for one in listed):
        raise Rejection("no_conversation", f"{key} is {shortened(listed)}")
    return listed


def earlier_pairs(value: JsonObject) -> list[Pair]:
    """The pairs of `history`: lists of a question and its answer.

    Raises:
        Rejection: it is something else.
    """
    history = value.get("history")
    if not says_something(history):
        return []
    if not isinstance(history, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in history):
        raise Rejection("no_conversation", f"history is {shortened(history)}")
    return [Pair((question,), answer) for question, answer in history]


HISTORY = Key(("history",), "read", "Earlier questions with their answers: `[[question, answer], ...]`.")
