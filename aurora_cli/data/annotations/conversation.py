"""Conversations in the turns of a record: roles, texts, the media among them, and what of them is learnt.

`messages` (OpenAI) and `conversations` (LLaVA) are one form under two names, and are read by one function.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from aurora_cli.constants import IMAGE, VIDEO
from aurora_cli.data.annotations.keys import GROUP_KEY, Key, KeyTable, Reading, looks_like, says_something
from aurora_cli.data.annotations.paths import IMAGE_KEYS, VIDEO_KEYS, Beside, Video, media_in, path_of, video_of
from aurora_cli.data.annotations.plain_records import TAG, PlainRecords
from aurora_cli.data.annotations.records import Message, Record, Rejection, Role, record_id, role_of, shortened, text_of
from aurora_cli.data.annotations.schema import RecordSchema
from aurora_cli.data.annotations.spans import span_in
from aurora_cli.io.json_files import JsonObject

SYSTEM_KEYS = ("system", "system_prompt", "system_message")
TARGET_KEYS = ("weight", "loss", "train", "loss_weight")

SPANS = Key(
    ("start", "end", "start_time", "end_time", "video_start", "video_end", "span", "segment", "timestamps"),
    "read",
    "The part of the video, in seconds or `hours:minutes:seconds`; also under other names of the same words.",
    beside_video=True,
)
SAMPLING = Key(
    ("nframes", "num_frames", "max_frames", "min_frames", "fps", "sample_fps", "video_fps"),
    "warned of",
    "Frames are sampled as `--frames` and `data.frame_sampling` say, alike in all records.",
)
OTHER_UNITS = Key(
    ("start_frame", "end_frame", "start_ms", "end_ms"),
    "rejected",
    "Beside a video, in other units than seconds; without one it is warned of.",
    beside_video=True,
)
AUDIO = Key(("audio", "audios", "audio_path"), "warned of", "Sound is not read; a question with `<audio>` is rejected.")

RECORD_KEYS = (
    Key(("id",), "read", "The row's id: a string or a number; without it `<file>:<line>`."),
    Key(IMAGE_KEYS, "read", "Images: a path, `file://`, `data:`, an object with `path` or `bytes`; or a list of them."),
    Key(VIDEO_KEYS, "read", "A video, or the list of its frames."),
    SPANS,
    Key(SYSTEM_KEYS, "read", "A system turn in front of the others."),
    Key(TARGET_KEYS, "read", "0 or false: no answer of the record is a target."),
    SAMPLING,
    AUDIO,
    OTHER_UNITS,
    GROUP_KEY,
)
TURN_KEYS = KeyTable(
    Key(("from", "role"), "read", "Who speaks, in small or capital letters."),
    Key(("value", "content"), "read", "The text, or a list of parts."),
    Key(TARGET_KEYS, "read", "0 or false: the answer is no target (loss mask). Of questions it is warned of."),
    Key(("name", "id"), "not needed", "Who it is."),
    Key((*IMAGE_KEYS, *VIDEO_KEYS, "audio"), "rejected", "Media stand beside the turns or among the parts of a text."),
    Key(("train_detail", "training_detail", "loss_scale"), "rejected", "Parts of an answer that are no targets."),
    Key(
        ("mask", "loss_mask", "ignore"), "rejected", "Other words for a weight, also of other names, beside an answer."
    ),
)
PART_KEYS = KeyTable(
    Key(("type", "text"), "read", "What it is: text, an image, a video."),
    Key(("image", "image_url", "video", "video_url", "url", "path", "bytes"), "read", "The medium, as in a record."),
    SPANS,
    Key(("detail", "min_pixels", "max_pixels", "total_pixels"), "not needed", "Images are read at the model's size."),
    Key(("resized_height", "resized_width"), "not needed", "The same."),
    Key(("cache_control", "index", "id"), "not needed", "For other programs."),
    SAMPLING,
    OTHER_UNITS,
)
PATH_AMONG_WORDS = re.compile(re.escape(TAG) + r"[^<>\n]+</img>")
MEDIUM_PARTS = ("image", "image_url", "input_image", "video", "video_url", "input_video")


class Names(NamedTuple):
    """What a schema calls things; of each pair the first is looked for first."""

    turns: str
    role: tuple[str, str]
    text: tuple[str, str]


class PartMedia(NamedTuple):
    """The media among the parts of the turns."""

    images: list[str]
    videos: list[Video]


def conversation(value: JsonObject, location: str, reading: Reading, names: Names) -> Record:
    """The record in an object that has turns, its media among them or beside them.

    Raises:
        Rejection: it cannot be used.
    """
    media = PartMedia([], [])
    turns = turns_in(value, names.turns)
    messages = [message_of(turn, index, media, reading, names) for index, turn in enumerate(turns)]
    messages = with_record_keys(messages, value, reading)
    beside = media_in(value, reading)
    if media.images or media.videos:
        if (media.images and beside.images) or (media.videos and beside.video) or len(media.videos) > 1:
            raise Rejection("bad_media", "media both in the messages and beside them, or several videos")
        beside = Beside(media.images or beside.images, media.videos[0] if media.videos else beside.video)
    return record_about(value, location, messages, beside, reading)


def record_about(value: JsonObject, location: str, messages: list[Message], media: Beside, reading: Reading) -> Record:
    """The record of messages about these media.

    Raises:
        Rejection: they do not go together, or a part of the video is none.
    """
    images, video = media
    name = record_id(value, location)
    if video is None:
        if images is None:
            _check_no_paths(messages)
        return Record(name, images, None, messages)
    span = span_in(value, reading) or video.span
    if video.frames is None:
        return Record(name, images or None, video.path, messages, span)
    if images:
        raise Rejection("mixed_media", f"{len(images)} images and {len(video.frames)} frames of a video")
    if span is not None:
        raise Rejection("unread_key", f"from {span[0]:g} to {span[1]:g} s of a list of frames, which have no times")
    return Record(name, video.frames, None, messages, is_frame_list=True)


def _check_no_paths(messages: list[Message]) -> None:
    """
    Raises:
        Rejection: a question has the path of an image among its words, in a record that names no image.
    """
    for index, message in enumerate(messages):
        if message.role == "human" and (found := PATH_AMONG_WORDS.search(message.text)):
            detail = f"turn {index}: {shortened(found[0])}: {IMAGE} in its place, and the path under `image`, are read"
            raise Rejection("image_count", detail)


def conversation_schema(name: str, form: str, names: Names, rank: int = 0) -> RecordSchema:
    """The schema of records with turns that are called so."""
    keys = KeyTable(Key((names.turns,), "read", "The turns."), *RECORD_KEYS)
    return RecordSchema(
        name=name,
        sign=names.turns,
        form=form,
        keys=keys,
        inner_keys={"message": TURN_KEYS, "part": PART_KEYS},
        read=lambda value, location, reading: conversation(value, location, reading, names),
        plain=PlainRecords(keys, names.turns, names.role[0], names.text[0]),
        rank=rank,
    )


def message_of(turn: JsonObject, index: int, media: PartMedia, reading: Reading, names: Names) -> Message:
    """A turn as a message; the media among its parts are appended to `media`."""
    given = turn.get(names.role[0], turn.get(names.role[1]))
    role = role_of(given, index)
    content = turn.get(names.text[0], turn.get(names.text[1]))
    if isinstance(content, list):
        before = len(media.images) + len(media.videos)
        content, placeholders = read_parts(content, index, media, reading)
        if role != "human" and (placeholders or len(media.images) + len(media.videos) > before):
            raise Rejection("bad_media", f"turn {index} ({given}) holds an image or video")
    text = text_of(content, index, given)
    unread = TURN_KEYS.unread(turn)
    if role == "gpt" and (weights := [name for name in unread if looks_like(name) == "weight"]):
        given = ", ".join(f"{name}: {shortened(turn[name])}" for name in weights)
        raise Rejection("unread_key", f"turn {index}: {given}; {', '.join(TARGET_KEYS)} say whether it is a target")
    reading.unread.update(f"message.{name}" for name in unread)
    return Message(role, text, is_target(turn, role, f"turn {index}", reading))


def is_target(turn: JsonObject, role: Role, where: str, reading: Reading) -> bool:
    """Whether a turn is learnt, by the keys that say so.

    Raises:
        Rejection: they do not agree, or weigh it otherwise than wholly or not at all.
    """
    flags = {name: turn[name] for name in TARGET_KEYS if says_something(turn.get(name))}
    if not flags:
        return True
    if role != "gpt":
        reading.unread.update(f"message.{name}" for name, flag in flags.items() if flag)
        return True
    reading.read.update(f"message.{name}" for name in flags)
    if any(flag not in (0, 1) for flag in flags.values()) or len(set(flags.values())) > 1:
        raise Rejection("unread_key", f"{where}: {shortened(flags)}: an answer is a target or is none")
    return bool(next(iter(flags.values())))


def with_record_keys(messages: list[Message], value: JsonObject, reading: Reading) -> list[Message]:
    """The messages with what keys of the record say of all of them: a system text, and whether they are learnt.

    Raises:
        Rejection: there are two system texts.
    """
    for name in SYSTEM_KEYS:
        if name in value and says_something(value[name]):
            text = text_of(value[name], 0, name)
            if messages and messages[0].role == "system":
                if messages[0].text != text:
                    raise Rejection("unread_key", f"{name}: {shortened(text)}: and a system turn that says otherwise")
            else:
                messages = [Message("system", text), *messages]
            reading.read.add(name)
    for name in TARGET_KEYS:
        if name in value and says_something(value[name]):
            if value[name] in (0, 1):
                reading.read.add(name)
                messages = [one._replace(is_target=one.is_target and bool(value[name])) for one in messages]
            else:
                reading.unread.add(name)
    return messages


def read_parts(parts: list[Any], turn: int, media: PartMedia, reading: Reading) -> tuple[str, int]:
    """The text of a message's parts with its placeholders, and the number of those.

    `<image>` and `<video>` come first and texts follow a line each, unless the order is kept. A part without a path
    stands for the next of those beside the messages.
    """
    texts: list[str] = []
    placeholders: list[str] = []
    kept = ""
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if isinstance(part, str) or kind in ("text", "input_text", "output_text"):
            text = part if isinstance(part, str) else text_of(part.get("text"), turn, "text")
            kept += "\n" + text if texts and not kept.endswith((IMAGE, VIDEO)) else text
            texts.append(text)
        elif isinstance(part, dict) and kind in MEDIUM_PARTS:
            placeholder = IMAGE if "image" in kind else VIDEO
            placeholders.append(placeholder)
            kept += placeholder
            read_medium(part, kind, media, reading)
        else:
            raise Rejection("bad_text", f"turn {turn} holds {shortened(part)}")
    if reading.in_order:
        return kept, len(placeholders)
    return "".join(placeholders) + "\n".join(texts), len(placeholders)


def read_medium(part: Mapping[str, object], kind: str, media: PartMedia, reading: Reading) -> None:
    """Append the medium that a part gives, if it gives one, under its own name or as `url`, `path` or `bytes`."""
    reading.unread.update(f"part.{name}" for name in PART_KEYS.unread(part))
    names = ("image", "image_url") if "image" in kind else ("video", "video_url")
    given = next((part[name] for name in (*names, "url", "path") if says_something(part.get(name))), None)
    if "image" in kind:
        if given is None and says_something(part.get("bytes")):
            given = {"bytes": part["bytes"]}
        if given is not None:
            media.images.append(path_of(given, kind, given))
    elif given is not None:
        span = span_in(part, reading, "part.")
        video = video_of(given, reading, kind)
        if span is not None and video.frames is not None:
            raise Rejection("unread_key", f"from {span[0]:g} to {span[1]:g} s of a list of frames, which have no times")
        media.videos.append(video._replace(span=span or video.span))


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
