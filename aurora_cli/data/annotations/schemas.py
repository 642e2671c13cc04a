"""The forms in which annotations are published, and how each becomes a record.

    llava            {"id", "image": path | [path], "video": path, "conversations": [{"from", "value"}]}
    sharegpt4video   {"video_id", "video_path": path, "captions": [{"idx": "-1", "content"}]}
    openai-messages  {"messages": [{"role", "content": text | [part]}], "images": [path], "videos": [path]}

LLaVA's is also that of ShareGPT4V, ALLaVA, Cambrian and the AuroraCap training set. ShareGPT4Video captions a video as
a whole under the index -1, and its keyframes, each by what changed, under others. `messages` come with their media as
parts of `content` (OpenAI, Qwen), or as `<image>` in it and `images` beside it (LLaMA-Factory, ms-swift).
"""

import re
from typing import Any, Literal, assert_never
from urllib.parse import unquote, urlsplit

from aurora_cli.constants import IMAGE, VIDEO, VIDEO_QUESTION
from aurora_cli.data.annotations.records import (
    Message,
    Record,
    Rejection,
    check_unicode,
    decode_json,
    image_paths,
    record_id,
    role_of,
    shortened,
    text_of,
    video_path,
)
from aurora_cli.io.json_files import JsonObject

Schema = Literal["llava", "sharegpt4video", "openai-messages"]

SIGNS: dict[str, Schema] = {
    "conversations": "llava",
    "messages": "openai-messages",
    "captions": "sharegpt4video",
}
"""The field by which a record's schema is recognised; the first that it has."""

WHOLE_VIDEO = ("-1", -1)
"""`idx` of the caption of a whole video."""

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|data:")


def parse_record(raw: bytes, location: str, schema: Schema | Literal["auto"] = "auto") -> Record:
    """The record in `raw`. `location` (`<file>:<line>`) becomes the id of one that has none.

    >>> parse_record(b'{"image": "a.jpg", "conversations": [{"from": "user", "value": "<image>"}]}', "x.jsonl:7").id
    'x.jsonl:7'

    Raises:
        Rejection: it cannot be used.
    """
    value = decode_json(raw)
    return record_of(value, location, recognised(value) if schema == "auto" else schema)


def recognised(value: JsonObject) -> Schema:
    """The schema of a record, by the first of the known fields that it has."""
    for sign, schema in SIGNS.items():
        if sign in value:
            return schema
    raise Rejection("no_conversation", f"none of {', '.join(SIGNS)} among its fields: {shortened([*value])}")


def record_of(value: JsonObject, location: str, schema: Schema) -> Record:
    """The record in a JSON object, read by this schema.

    Raises:
        Rejection: it cannot be used.
    """
    match schema:
        case "llava":
            record = llava(value, location)
        case "sharegpt4video":
            record = sharegpt4video(value, location)
        case "openai-messages":
            record = openai_messages(value, location)
        case _:
            assert_never(schema)
    if record.images and record.video:
        raise Rejection("mixed_media", f"{len(record.images)} images and a video")
    check_unicode(record)
    return record


def llava(value: JsonObject, location: str) -> Record:
    """A record of LLaVA's form."""
    images, video = image_paths(value.get("image")), video_path(value.get("video"))
    messages = []
    for index, turn in enumerate(turns_in(value, "conversations")):
        given = turn.get("from", turn.get("role"))
        role = role_of(given, index)
        messages.append(Message(role, text_of(turn.get("value", turn.get("content")), index, given)))
    return Record(record_id(value, location), images, video, messages)


def sharegpt4video(value: JsonObject, location: str) -> Record:
    """A question about the video, and its caption: that of the whole video, else those of its parts, a line each."""
    captions = value.get("captions")
    entries = captions if isinstance(captions, list) else [captions]
    whole = [entry for entry in entries if isinstance(entry, dict) and entry.get("idx") in WHOLE_VIDEO]
    texts = [
        text_of(entry.get("content") if isinstance(entry, dict) else entry, index, "caption")
        for index, entry in enumerate(whole[:1] or entries)
    ]
    if not texts:
        raise Rejection("no_conversation", "captions is empty")
    video = video_path(value.get("video_path", value.get("video")))
    if video is None:
        raise Rejection("bad_media", "video_path is missing")
    name = record_id(value, record_id(value, location, "video_id"))
    question = Message("human", f"{VIDEO}\n{VIDEO_QUESTION}")
    return Record(name, None, local_path(video), [question, Message("gpt", "\n".join(texts))])


def openai_messages(value: JsonObject, location: str) -> Record:
    """A record of OpenAI's form, its media in the messages or beside them."""
    images: list[str] = []
    videos: list[str] = []
    messages = []
    for index, turn in enumerate(turns_in(value, "messages")):
        given = turn.get("role", turn.get("from"))
        role = role_of(given, index)
        content = turn.get("content", turn.get("value"))
        if isinstance(content, list):
            before = len(images) + len(videos)
            content, placeholders = read_parts(content, index, images, videos)
            if role != "human" and (placeholders or len(images) + len(videos) > before):
                raise Rejection("bad_media", f"turn {index} ({given}) holds an image or video")
        messages.append(Message(role, text_of(content, index, given), is_target=turn.get("weight") != 0))
    beside_images = image_paths(value.get("images", value.get("image")))
    beside_video = video_path(value.get("videos", value.get("video")))
    if (images and beside_images) or (videos and beside_video) or len(videos) > 1:
        raise Rejection("bad_media", "media both in the messages and beside them, or several videos")
    paths = images or [local_path(path) for path in beside_images or ()]
    video = videos[0] if videos else beside_video and local_path(beside_video)
    return Record(record_id(value, location), paths or None, video, messages)


def read_parts(parts: list[Any], turn: int, images: list[str], videos: list[str]) -> tuple[str, int]:
    """The text of a message's parts, `<image>` and `<video>` first, and the number of those.

    Paths are appended to `images` and `videos`; a part without one stands for the next of those beside the messages.
    """
    texts = []
    placeholders: list[str] = []
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(part, str):
            texts.append(part)
        elif kind in ("text", "input_text", "output_text"):
            texts.append(text_of(part.get("text"), turn, kind))
        elif kind in ("image", "image_url", "input_image"):
            placeholders.append(IMAGE)
            images += path_in(part, "image", "image_url")
        elif kind in ("video", "video_url", "input_video"):
            placeholders.append(VIDEO)
            videos += path_in(part, "video", "video_url")
        else:
            raise Rejection("bad_text", f"turn {turn} holds {shortened(part)}")
    return "".join(placeholders) + "\n".join(texts), len(placeholders)


def path_in(part: JsonObject, *names: str) -> list[str]:
    """The path that a part gives: under one of `names` or as `url` or `path`, itself or as an object's `url`."""
    given = next((part[name] for name in (*names, "url", "path") if part.get(name) is not None), None)
    if isinstance(given, dict):
        given = given.get("url", given.get("path"))
    if given is None:
        return []
    if not isinstance(given, str) or not given:
        raise Rejection("bad_media", f"{part.get('type')} is {shortened(given)}")
    return [local_path(given)]


def local_path(given: str) -> str:
    """The path that `given` is, or names as `file://`.

    >>> local_path("a/b.jpg"), local_path("file:///data/a%20b.jpg")
    ('a/b.jpg', '/data/a b.jpg')
    """
    if given.startswith("file://"):
        return unquote(urlsplit(given).path)
    if ADDRESS.match(given):
        raise Rejection("remote_media", shortened(given))
    return given


def turns_in(value: JsonObject, key: str) -> list[JsonObject]:
    """The turns of a conversation.

    Raises:
        Rejection: there is no list of objects.
    """
    turns = value.get(key)
    if not isinstance(turns, list):
        raise Rejection("no_conversation", f"{key} is {shortened(turns)}")
    for index, turn in enumerate(turns):
        if not isinstance(turn, dict):
            raise Rejection("no_conversation", f"turn {index} is {shortened(turn)}")
    return turns
