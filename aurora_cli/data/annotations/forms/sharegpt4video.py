"""ShareGPT4Video's captions: of a whole video under the index -1, of its keyframes, by what changed, under others."""

from aurora_cli.constants import VIDEO, VIDEO_QUESTION
from aurora_cli.data.annotations.conversation import AUDIO, OTHER_UNITS, SAMPLING, SPANS
from aurora_cli.data.annotations.keys import GROUP_KEY, Key, KeyTable, Reading, says_something
from aurora_cli.data.annotations.paths import video_of
from aurora_cli.data.annotations.records import Message, Record, Rejection, record_id, text_of
from aurora_cli.data.annotations.schema import RecordSchema
from aurora_cli.data.annotations.spans import span_in
from aurora_cli.io.json_files import JsonObject

VIDEO_KEYS = ("video_path", "video", "clip")
WHOLE_VIDEO = ("-1", -1)
"""`idx` of the caption of a whole video."""
KEYFRAMES = ("timestamp", "timestamps", "keyframe")
"""Say when the keyframes are, not which part of the video the caption is about."""


def read(value: JsonObject, location: str, reading: Reading) -> Record:
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
    key = next((name for name in VIDEO_KEYS if says_something(value.get(name))), None)
    if key is None:
        raise Rejection("bad_media", "video_path is missing")
    reading.read.add(key)
    video = video_of(value[key], reading, key)
    span = span_in(value, reading, but=KEYFRAMES) or video.span
    name = record_id(value, record_id(value, location, "video_id"))
    messages = [Message("human", f"{VIDEO}\n{VIDEO_QUESTION}"), Message("gpt", "\n".join(texts))]
    if video.frames is not None:
        return Record(name, video.frames, None, messages, is_frame_list=True)
    return Record(name, None, video.path, messages, span)


SCHEMA = RecordSchema(
    name="sharegpt4video",
    sign="captions",
    form='{"video_id", "video_path": path, "captions": [{"idx": "-1", "content"}]}',
    keys=KeyTable(
        Key(("id", "video_id"), "read", "The row's id; without it `<file>:<line>`."),
        Key(VIDEO_KEYS, "read", "The video, or the list of its frames; the first of these that is there."),
        Key(("captions",), "read", "The answer: the caption of the whole video, else those of its parts, a line each."),
        SPANS._replace(names=tuple(name for name in SPANS.names if name not in KEYFRAMES)),
        Key((*KEYFRAMES, "zip_folder"), "not needed", "When keyframes are, and which archive the video was in."),
        SAMPLING,
        AUDIO,
        OTHER_UNITS,
        GROUP_KEY,
    ),
    inner_keys={},
    read=read,
    rank=2,
)
