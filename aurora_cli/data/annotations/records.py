"""One annotation record: its typed form, the reasons why one cannot be used, and how its fields are read.

Which fields those are is the schema's affair (`schemas.py`).
"""

import json
from typing import Literal, NamedTuple

from aurora_cli.io.json_files import JsonObject

Role = Literal["system", "human", "gpt"]

ROLES: dict[str, Role] = {
    "human": "human",
    "user": "human",
    "prompter": "human",
    "gpt": "gpt",
    "chatgpt": "gpt",
    "assistant": "gpt",
    "model": "gpt",
    "bot": "gpt",
    "ai": "gpt",
    "system": "system",
    "developer": "system",
}
"""What stands in `from` or `role`, in small or capital letters, and what it means."""

REASONS = {
    "bad_json": "The line, or the array's element, is not JSON in UTF-8.",
    "not_an_object": "It is JSON, but not an object.",
    "no_conversation": "It has no turns, or they are not a list of objects.",
    "unknown_role": "`from` is none of human, user, gpt, assistant, model; or a system turn does not come first.",
    "null_text": "A turn's `value` is null or missing.",
    "bad_text": "A turn's `value` is not a string; in `messages`, nor a list of text, images and videos.",
    "bad_unicode": "A text or path holds half of a surrogate pair, which is no character.",
    "bad_media": "`image` or `video` is not a path (or a list of paths); or an answer holds an image.",
    "remote_media": "An image or video is given by a network address, or as `data:` that holds no image.",
    "mixed_media": "It has both images and a video; a row of the token store holds one or the other.",
    "bad_span": "The times of a part of the video are no times, or the part is empty.",
    "unread_key": "A key says what is not read here and changes what a model would learn.",
    "no_answer": "No turn of gpt or assistant answers a turn of human or user; or every answer has weight 0.",
    "empty_answer": "An answer has no words: a model would learn to say nothing.",
    "special_token": "A text holds words that the tokenizer takes for a special token, such as `</s>`.",
    "image_count": "The number of images is not the number of `<image>` in the turns that are used.",
    "video_count": "There is a video and not exactly one `<video>` in the turns that are used, or no video and one.",
    "chat_template": "The tokenizer's own template refuses the conversation, or changes its texts.",
    "missing_media": "With `--check-media`: one of its images or its video is not there.",
    "no_target_tokens": "The cut at `max_length` leaves no token of an answer.",
}
"""Every reason for which a record is left out, and what it means."""


class Rejection(Exception):
    """A record cannot be used. `reason` is a key of `REASONS`, `detail` says what was met."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


Span = tuple[float, float]
"""Seconds of a video's time: the first, and the one behind the last; infinity is the video's end."""


class Message(NamedTuple):
    """A turn of a conversation."""

    role: Role
    text: str
    is_target: bool = True
    """Of an answer: whether a model learns to give it."""


class Record(NamedTuple):
    """An annotation with its types checked, its turns as they were written."""

    id: str
    images: list[str] | None
    """Never empty."""
    video: str | None
    messages: list[Message]
    span: Span | None = None
    """The part of the video that the record is about; none: all of it."""
    is_frame_list: bool = False
    """Whether the images are the frames of one video."""
    group: str | None = None
    """Records with the same one lie on one side of `data.validation_share`."""
    unread: tuple[str, ...] = ()
    """Keys that look as if they mattered, and are not read."""


DECODER = json.JSONDecoder()

COUNTS = ("image_count", "video_count")
"""Reasons that a key which is not read may be behind."""


def explained(rejection: Rejection, record: Record) -> Rejection:
    """The rejection, with the keys that are not read where they may be why media are missing."""
    if rejection.reason not in COUNTS or not record.unread:
        return rejection
    return Rejection(rejection.reason, f"{rejection.detail}; not read: {', '.join(record.unread)}")


def media_of(record: Record) -> list[str]:
    """The paths of its images, or of its video."""
    return [*(record.images or ()), *([record.video] if record.video else ())]


def decode_json(raw: bytes) -> JsonObject:
    """The object that `raw` holds.

    Raises:
        Rejection: it holds none.
    """
    try:
        value = loaded(raw.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise Rejection("bad_json", f"invalid UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise Rejection("bad_json", f"{error.msg} at character {error.pos}") from error
    except (ValueError, RecursionError) as error:
        raise Rejection("bad_json", str(error)) from error
    if not isinstance(value, dict):
        raise Rejection("not_an_object", type(value).__name__)
    return value


def loaded(text: str) -> object:
    """`json.loads(text)`, which takes as long to look for white space around a record as to read it."""
    try:
        value, end = DECODER.raw_decode(text)
    except ValueError:
        return json.loads(text)
    return value if end == len(text) else json.loads(text)


def record_id(value: JsonObject, location: str, key: str = "id") -> str:
    """The id as a string; `location` (`<file>:<line>`) where there is none.

    >>> [record_id({"id": given}, "x.jsonl:7") for given in ("a", 23, 1.5, None)]
    ['a', '23', '1.5', 'x.jsonl:7']
    """
    given = value.get(key)
    if given is None:
        return location
    if isinstance(given, str):
        return given
    return str(given) if isinstance(given, int | float) else json.dumps(given, ensure_ascii=False)


def role_of(given: object, index: int) -> Role:
    """The role that is meant.

    Raises:
        Rejection: it is unknown, or a system turn is not the first.
    """
    role = ROLES.get(given) or ROLES.get(given.strip().lower()) if isinstance(given, str) else None
    if role is None or (role == "system" and index > 0):
        raise Rejection("unknown_role", f"turn {index} is from {shortened(given)}")
    return role


def text_of(text: object, index: int, given: object) -> str:
    """The text of a turn from `given`.

    Raises:
        Rejection: it is null or no string.
    """
    if text is None:
        raise Rejection("null_text", f"turn {index} ({given})")
    if not isinstance(text, str):
        raise Rejection("bad_text", f"turn {index} ({given}) is {shortened(text)}")
    return text


def check_unicode(record: Record) -> None:
    """
    Raises:
        Rejection: a text or path holds half of a surrogate pair.
    """
    texts = [
        record.id,
        record.group or "",
        *(record.images or ()),
        record.video or "",
        *[message.text for message in record.messages],
    ]
    if all(map(str.isascii, texts)):
        return
    try:
        "\n".join(texts).encode("utf-8")
    except UnicodeEncodeError as error:
        raise Rejection("bad_unicode", f"\\u{ord(error.object[error.start]):04x}") from error


def shortened(value: object, length: int = 60) -> str:
    """`value` as Python writes it, cut for a message; only ASCII, so that it can be written anywhere."""
    text = ascii(value)
    return text if len(text) <= length else text[: length - 3] + "..."
