"""One annotation record: from the bytes of a line to a typed value, or to the reason why it cannot be used.

    {"id": ..., "image": "a.jpg" | ["a.jpg", ...] | null, "video": "c.mp4" | null,
     "conversations": [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}, ...]}

is the form of LLaVA's data sets, and what is accepted is what occurs in them.
"""

import json
import re
from typing import Any, Literal, NamedTuple

Role = Literal["system", "human", "gpt"]

ROLES: dict[str, Role] = {"human": "human", "user": "human", "gpt": "gpt", "assistant": "gpt", "system": "system"}
"""What stands in `from`, and what is meant."""

REASONS = {
    "bad_json": "The line, or the array's element, is not JSON in UTF-8.",
    "not_an_object": "It is JSON, but not an object.",
    "no_conversation": "`conversations` is missing, or not a list of objects.",
    "unknown_role": "`from` is none of human, user, gpt, assistant; or a system turn does not come first.",
    "null_text": "A turn's `value` is null or missing.",
    "bad_text": "A turn's `value` is not a string.",
    "bad_unicode": "A text or path holds half of a surrogate pair, which is no character.",
    "bad_media": "`image` or `video` is not a path (or, for `image`, a list of paths).",
    "mixed_media": "It has both pictures and a video; a row of the token store holds one or the other.",
    "no_answer": "No turn of gpt or assistant answers a turn of human or user.",
    "picture_count": "The number of pictures is not the number of `<image>` in the turns that are used.",
    "video_count": "There is a video, and not exactly one `<video>` in the turns that are used.",
    "nothing_taught": "The cut at `max_length` leaves no token of an answer.",
}
"""Every reason for which a record is left out, and what it means."""

SURROGATE_ESCAPE = re.compile(r"\\u[dD][89a-fA-F]")


class Rejection(Exception):
    """A record cannot be used. `reason` is a key of `REASONS`, `detail` says what was met."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class Message(NamedTuple):
    role: Role
    text: str


class Record(NamedTuple):
    """An annotation with its types checked, its turns as they were written."""

    id: str
    images: list[str] | None
    """Never empty."""
    video: str | None
    messages: list[Message]


def decode_json(raw: bytes) -> dict[str, Any]:
    """The object that `raw` holds.

    Raises:
        Rejection: it holds none.
    """
    try:
        text = raw.decode("utf-8")
        value = json.loads(text)
    except UnicodeDecodeError as error:
        raise Rejection("bad_json", f"invalid UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise Rejection("bad_json", f"{error.msg} at character {error.pos}") from error
    except (ValueError, RecursionError) as error:
        raise Rejection("bad_json", str(error)) from error
    if not isinstance(value, dict):
        raise Rejection("not_an_object", type(value).__name__)
    return value


def parse_record(raw: bytes, place: str) -> Record:
    """The record in `raw`. `place` (`<file>:<line>`) becomes the id of one that has none.

    >>> parse_record(b'{"image": "a.jpg", "conversations": [{"from": "user", "value": "<image>"}]}', "x.jsonl:7").id
    'x.jsonl:7'

    Raises:
        Rejection: it cannot be used.
    """
    value = decode_json(raw)
    images = image_paths(value.get("image"))
    video = video_path(value.get("video"))
    if images and video:
        raise Rejection("mixed_media", f"{len(images)} pictures and a video")
    record = Record(record_id(value, place), images, video, messages_of(value.get("conversations")))
    if b"\\u" in raw and SURROGATE_ESCAPE.search(raw.decode("utf-8")):
        check_unicode(record)
    return record


def record_id(value: dict[str, Any], place: str) -> str:
    """The id as a string; `place` where there is none.

    >>> [record_id({"id": given}, "x.jsonl:7") for given in ("a", 23, 1.5, None)]
    ['a', '23', '1.5', 'x.jsonl:7']
    """
    match value.get("id"):
        case None:
            return place
        case str() | int() | float() as given:
            return str(given)
        case given:
            return json.dumps(given, ensure_ascii=False)


def image_paths(value: object) -> list[str] | None:
    """A path or a list of paths as a list; nothing (null, "", []) as None.

    >>> image_paths("a.jpg"), image_paths(["a.jpg", "b.jpg"]), image_paths([])
    (['a.jpg'], ['a.jpg', 'b.jpg'], None)
    """
    if value is None or value == "" or value == []:
        return None
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(path, str) and path for path in value):
        return value
    raise Rejection("bad_media", f"image is {shortened(value)}")


def video_path(value: object) -> str | None:
    """A path, or a list of one."""
    if value is None or value == "" or value == []:
        return None
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if isinstance(value, str) and value:
        return value
    raise Rejection("bad_media", f"video is {shortened(value)}")


def messages_of(value: object) -> list[Message]:
    if not isinstance(value, list):
        raise Rejection("no_conversation", f"conversations is {shortened(value)}")
    messages = []
    for index, turn in enumerate(value):
        if not isinstance(turn, dict):
            raise Rejection("no_conversation", f"turn {index} is {shortened(turn)}")
        given = turn.get("from")
        role = ROLES.get(given) if isinstance(given, str) else None
        if role is None or (role == "system" and index > 0):
            raise Rejection("unknown_role", f"turn {index} is from {shortened(given)}")
        text = turn.get("value")
        if text is None:
            raise Rejection("null_text", f"turn {index} ({given})")
        if not isinstance(text, str):
            raise Rejection("bad_text", f"turn {index} ({given}) is {shortened(text)}")
        messages.append(Message(role, text))
    return messages


def check_unicode(record: Record) -> None:
    texts = [record.id, *(record.images or ()), record.video or "", *(message.text for message in record.messages)]
    try:
        "\n".join(texts).encode("utf-8")
    except UnicodeEncodeError as error:
        raise Rejection("bad_unicode", f"\\u{ord(error.object[error.start]):04x}") from error


def shortened(value: object, length: int = 60) -> str:
    """`value` as Python writes it, cut for a message; only ASCII, so that it can be written anywhere."""
    text = ascii(value)
    return text if len(text) <= length else text[: length - 3] + "..."
