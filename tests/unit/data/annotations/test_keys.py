"""No field is passed over in silence: every known key is read, rejected or warned of, as its table says."""

import base64
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_cli.data.annotations.keys import KeyCounts, looks_like
from aurora_cli.data.annotations.records import Message, Record, Rejection
from aurora_cli.data.annotations.schemas import SCHEMAS, parse_record
from aurora_cli.data.annotations.spans import part_in, seconds
from aurora_cli.io.data_uri import image_in

GIF = "R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"
GIF_URI = f"data:image/gif;base64,{GIF}"
ANSWER = {"from": "gpt", "value": "A circle."}


def asking(question="<video>\nWhat?", **fields) -> dict:
    return {"id": "r", "conversations": [{"from": "human", "value": question}, ANSWER], **fields}


def read(value: dict, counts: KeyCounts | None = None) -> Record:
    return parse_record(json.dumps(value).encode(), "file.jsonl:3", counts=counts)


def outcome(value: dict) -> tuple[str, Record | Rejection, KeyCounts]:
    """read, rejected or kept, with the record or the reason, and the keys."""
    counts = KeyCounts()
    try:
        return "kept", read(value, counts), counts
    except Rejection as rejection:
        return rejection.reason, rejection, counts


@pytest.mark.parametrize("key", ["video", "videos", "video_path", "video_paths", "clip"])
@pytest.mark.parametrize("given", ["a.mp4", ["a.mp4"], {"path": "a.mp4"}, [{"url": "file:///x/../a.mp4"}]])
def test_a_video_is_read_under_every_key_that_it_has(key, given):
    counts = KeyCounts()
    record = read(asking(**{key: given}), counts)
    assert record.video in ("a.mp4", "/x/../a.mp4")
    assert (record.messages[0].text, record.images) == ("<video>\nWhat?", None)
    assert (counts.read, counts.warned) == ({key: 1}, {})


@pytest.mark.parametrize("key", ["image", "images", "image_path", "image_paths"])
@pytest.mark.parametrize("given", ["a.jpg", ["a.jpg"], {"path": "a.jpg", "bytes": None}, [{"url": "a.jpg"}]])
def test_images_are_read_under_every_key_that_they_have(key, given):
    counts = KeyCounts()
    assert read(asking("<image>What?", **{key: given}), counts).images == ["a.jpg"]
    assert (counts.read, counts.warned) == ({key: 1}, {})


def test_messages_take_the_same_keys():
    turns = [{"role": "user", "content": "<video>\nWhat?"}, {"role": "assistant", "content": "A circle."}]
    assert read({"messages": turns, "video_path": "a.mp4"}).video == "a.mp4"
    assert read({"messages": turns, "clip": "a.mp4"}).video == "a.mp4"


def test_two_keys_must_name_the_same():
    assert read(asking(video="a.mp4", videos=["a.mp4"])).video == "a.mp4"
    assert outcome(asking(video="a.mp4", video_path="b.mp4"))[0] == "bad_media"
    assert outcome(asking("<image>?", image="a.jpg", images=["a.jpg", "b.jpg"]))[0] == "bad_media"


def test_a_question_about_a_video_that_is_named_nowhere_is_rejected():
    for question in ("<video>\nWhat?", "What?\n<video>", "See\n<video>\nand say."):
        reason, rejection, _ = outcome(asking(question, footage="a.mp4", mov_file="a.mp4"))
        assert reason == "video_count"
        assert isinstance(rejection, Rejection)
        assert "not read: mov_file" in rejection.detail
    assert outcome(asking("What does the tag <video> do in HTML?"))[0] == "kept"


def test_with_a_video_and_no_image_the_one_image_token_is_the_videos():
    record = read(asking("<image>\nWhat?", video="a.mp4"))
    assert record.messages[0].text == "<video>\nWhat?"
    twice = read(asking("<image><image>What?", video="a.mp4"))
    assert twice.messages[0].text == "<image><image>What?", "left for the count of images to reject"


@pytest.mark.parametrize("frames", [["1.jpg", "2.jpg"], ["1.png"], [{"path": "1.jpg"}, {"path": "2.jpg"}]])
@pytest.mark.parametrize("question", ["<video>\nWhat?", "<image>\nWhat?"])
def test_a_list_of_frames_is_one_video(frames, question):
    record = read(asking(question, video=frames))
    assert record.images == [frame["path"] if isinstance(frame, dict) else frame for frame in frames]
    assert (record.video, record.is_frame_list, record.messages[0].text) == (None, True, "<video>\nWhat?")


def test_several_videos_are_no_list_of_frames():
    assert outcome(asking(video=["a.mp4", "b.mp4"]))[0] == "bad_media"


def test_parts_may_hold_a_list_of_frames():
    content = [{"type": "video", "video": ["file:///f/1.jpg", "file:///f/2.jpg"], "fps": 2.0}]
    turns = [{"role": "user", "content": content}, {"role": "assistant", "content": "A."}]
    counts = KeyCounts()
    record = read({"messages": turns}, counts)
    assert (record.images, record.is_frame_list) == (["/f/1.jpg", "/f/2.jpg"], True)
    assert counts.warned == {"part.fps": 1}


@pytest.mark.parametrize(
    ("fields", "span"),
    [
        ({"start": 3, "end": 5.5}, (3.0, 5.5)),
        ({"start": 0, "end": 2}, (0.0, 2.0)),
        ({"start_time": "00:00:03", "end_time": "00:01:05.25"}, (3.0, 65.25)),
        ({"video_start": "3.0", "video_end": "4s"}, (3.0, 4.0)),
        ({"startTime": 1, "endTime": 2}, (1.0, 2.0)),
        ({"clip_start_sec": 1, "clip_end_sec": 2}, (1.0, 2.0)),
        ({"begin": 1, "end": 2}, (1.0, 2.0)),
        ({"span": [1, 2]}, (1.0, 2.0)),
        ({"timestamps": [[1.5, 2]]}, (1.5, 2.0)),
        ({"segment": ["0:01", "0:02"]}, (1.0, 2.0)),
        ({"timestamp": "0:01 - 0:02.5"}, (1.0, 2.5)),
        ({"timestamps": "[00:00:01,500 --> 00:00:04,000]"}, (1.5, 4.0)),
        ({"span": "(1, 2)"}, (1.0, 2.0)),
        ({"span": "1 to 2 seconds"}, (1.0, 2.0)),
        ({"span": {"start": 1, "end": "0:02"}}, (1.0, 2.0)),
        ({"segments": [{"from": 1, "to": 2}]}, (1.0, 2.0)),
        ({"span": [1, None]}, (1.0, math.inf)),
        ({"trim": [1, 2]}, (1.0, 2.0)),
        ({"from": 1, "to": "0:02"}, (1.0, 2.0)),
        ({"start": 3}, (3.0, math.inf)),
        ({"end": 3}, (0.0, 3.0)),
        ({"start": None, "end": None}, None),
    ],
)
def test_the_part_of_a_video_is_read(fields, span):
    record = read(asking(video="a.mp4", **fields))
    assert record.span == span
    inside = read(asking(video={"path": "a.mp4", **fields}))
    assert (inside.video, inside.span) == ("a.mp4", span)
    turns = [
        {"role": "user", "content": [{"type": "video", "video": "a.mp4", **fields}, {"type": "text", "text": "What?"}]},
        {"role": "assistant", "content": "A."},
    ]
    counts = KeyCounts()
    assert read({"messages": turns}, counts).span == span
    assert counts.read == ({f"part.{name}": 1 for name in fields} if span else {})


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"start": 5, "end": 3}, "bad_span"),
        ({"start": 3, "end": 3}, "bad_span"),
        ({"start": -1, "end": 3}, "bad_span"),
        ({"start": "soon", "end": 3}, "bad_span"),
        ({"start": True, "end": 3}, "bad_span"),
        ({"start": 1, "end": 3, "span": [1, 4]}, "bad_span"),
        ({"timestamps": [[0, 1], [1, 2]]}, "unread_key"),
        ({"start_frame": 3, "end_frame": 9}, "unread_key"),
        ({"start_ms": 300}, "unread_key"),
        ({"start": 3, "duration": 8}, "unread_key"),
        ({"start": "1:75", "end": 200}, "bad_span"),
        ({"start": "1:60:00", "end": "9:00:00"}, "bad_span"),
        ({"span": [{"start": 0, "end": 1}, {"start": 1, "end": 2}]}, "unread_key"),
    ],
)
def test_a_part_that_cannot_be_read_rejects_the_record(fields, reason):
    assert outcome(asking(video="a.mp4", **fields))[0] == reason


@pytest.mark.parametrize(
    ("fields", "unread"),
    [
        ({"from": "the web"}, ()),
        ({"from": "the web", "to": 3}, ()),
        ({"timestamp": "2024-05-01"}, ("timestamp",)),
        ({"timestamp": 12.5}, ("timestamp",)),
        ({"segments": [{"start": 0, "end": 1, "label": "cat"}]}, ("segments",)),
        ({"end": 3, "duration": 8}, None),
        ({"start": 1, "end": 3, "duration": 8}, None),
    ],
)
def test_what_may_be_no_part_of_the_video_keeps_the_record(fields, unread):
    record = read(asking(video="a.mp4", **fields))
    assert (record.unread, record.span is None) == ((), False) if unread is None else (unread, True)


def test_a_list_of_frames_has_no_times():
    assert outcome(asking(video=["1.jpg", "2.jpg"], start=1, end=2))[0] == "unread_key"


def test_times_without_a_video_are_warned_of():
    _, record, counts = outcome(asking("<image>?", image="a.jpg", start=1, end_frame=2))
    assert isinstance(record, Record)
    assert (record.span, record.unread) == (None, ("end_frame", "start"))
    assert (counts.read, counts.warned) == ({"image": 1}, {"start": 1, "end_frame": 1})


def test_keyframes_of_sharegpt4video_are_no_span():
    record = read({"video_path": "a.mp4", "captions": ["A."], "timestamp": ["00:00:00", "00:00:02"]})
    assert (record.span, record.unread) == (None, ())
    assert read({"video_path": "a.mp4", "captions": ["A."], "start": 1, "end": 2}).span == (1.0, 2.0)


@pytest.mark.parametrize(
    "path", ["https://x.org/1.jpg", "s3://b/1.jpg", "gs://b/1.jpg", "HDFS://b/1", "data:,", "data:"]
)
@pytest.mark.parametrize("fields", [{"image": None}, {"video": None}, {"images": [None]}, {"image": {"url": None}}])
def test_addresses_are_rejected_alike_in_all_schemas(path, fields):
    filled = json.loads(json.dumps(fields).replace("null", json.dumps(path)))
    question = "<video>What?" if "video" in fields else "<image>What?"
    assert outcome(asking(question, **filled))[0] == "remote_media"
    turns = [{"role": "user", "content": question}, {"role": "assistant", "content": "A."}]
    assert outcome({"messages": turns, **filled})[0] == "remote_media"


@pytest.mark.parametrize("key", ["image", "images"])
def test_file_addresses_are_paths_in_all_schemas(key):
    assert read(asking("<image>?", **{key: "file:/data/a%20b.jpg"})).images == ["/data/a b.jpg"]
    assert read(asking("<image>?", **{key: "file:///data/a%20b.jpg"})).images == ["/data/a b.jpg"]
    record = {"video_path": "file:///data/a.mp4", "captions": ["A."]}
    assert read(record).video == "/data/a.mp4"


@pytest.mark.parametrize("given", [GIF_URI, {"bytes": GIF, "path": "cat.gif"}, {"url": GIF_URI}, {"bytes": GIF}])
def test_images_that_are_written_out_are_kept(given):
    (path,) = read(asking("<image>?", image=given)).images or ()
    assert image_in(path) == base64.b64decode(GIF)
    (path,) = read(asking("<image>?", images=[given])).images or ()
    assert image_in(path) == base64.b64decode(GIF)


@pytest.mark.parametrize(
    "given",
    [{"bytes": "AAAA"}, {"bytes": [137, 80]}, {"bytes": "not base64!"}, {"width": 3}, 3, [None], ["a.jpg", {}]],
)
def test_objects_without_an_image_are_rejected(given):
    assert outcome(asking("<image>?", image=given))[0] == "bad_media"


@pytest.mark.parametrize("name", ["Human", "USER", "human ", "prompter"])
@pytest.mark.parametrize("answerer", ["GPT", "Assistant", "model", "bot", "ChatGPT"])
def test_roles_have_the_names_that_people_give_them(name, answerer):
    turns = [{"from": name, "value": "Q"}, {"from": answerer, "value": "A"}]
    assert read({"conversations": turns}).messages == [Message("human", "Q"), Message("gpt", "A")]


@pytest.mark.parametrize("key", ["weight", "loss", "train", "loss_weight"])
@pytest.mark.parametrize(("flag", "is_target"), [(0, False), (1, True), (False, False), (True, True), (0.0, False)])
def test_an_answer_can_be_no_target(key, flag, is_target):
    turns = [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A", key: flag}]
    counts = KeyCounts()
    assert [message.is_target for message in read({"conversations": turns}, counts).messages] == [True, is_target]
    assert counts.read == {f"message.{key}": 1}
    of_record = read({"conversations": [turns[0], ANSWER], key: flag})
    assert of_record.messages[1].is_target == is_target


def test_weights_that_are_no_mask():
    question = {"from": "human", "value": "Q"}
    assert outcome({"conversations": [question, {**ANSWER, "weight": 0.5}]})[0] == "unread_key"
    assert outcome({"conversations": [question, {**ANSWER, "weight": 1, "train": False}]})[0] == "unread_key"
    for name in ("mask", "loss_mask", "ignore", "is_trainable", "turnWeight"):
        assert outcome({"conversations": [question, {**ANSWER, name: 1}]})[0] == "unread_key", name
    assert outcome({"conversations": [{**question, "is_trainable": 0}, ANSWER]})[2].warned == {
        "message.is_trainable": 1
    }
    _, _, counts = outcome({"conversations": [{**question, "train": True}, ANSWER], "weight": 0.7})
    assert counts.warned == {"message.train": 1, "weight": 1}


def test_a_system_text_beside_the_turns_is_a_system_turn():
    for key in ("system", "system_prompt", "system_message"):
        assert read(asking("Hi", **{key: "Be brief."})).messages[0] == Message("system", "Be brief.")
    turns = [{"from": "system", "value": "Be brief."}, {"from": "human", "value": "Hi"}, ANSWER]
    assert len(read({"conversations": turns, "system": "Be brief."}).messages) == 3
    assert outcome({"conversations": turns, "system": "Be long."})[0] == "unread_key"
    assert outcome(asking("Hi", system=3))[0] == "bad_text"
    assert len(read(asking("Hi", system="")).messages) == 2


def test_media_of_a_turn_reject_the_record():
    turns = [{"from": "human", "value": "What?", "image": "a.jpg"}, ANSWER]
    assert outcome({"conversations": turns})[0] == "unread_key"


def test_sound_is_warned_of_and_questions_about_it_are_rejected():
    _, _, counts = outcome(asking(video="a.mp4", audio="a.wav"))
    assert counts.warned == {"audio": 1}
    assert outcome(asking("<audio>\nWhat is said?", audios=["a.wav"]))[0] == "unread_key"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("img_file", "medium"),
        ("videoFile", "medium"),
        ("file_name", "medium"),
        ("audio_path", "medium"),
        ("sample_weight", "weight"),
        ("loss_mask", "weight"),
        ("speaker", "role"),
        ("event_time", "time"),
        ("image_width", None),
        ("video_id", None),
        ("data_source", None),
        ("caption", None),
        ("ID", None),
    ],
)
def test_unknown_keys_are_judged_by_their_words(name, kind):
    assert looks_like(name) == kind
    _, record, counts = outcome(asking("Hi", **{name: "x"}))
    assert isinstance(record, Record)
    assert counts.warned == ({name: 1} if kind else {})
    assert outcome(asking("Hi", **{name: None}))[2].warned == {}, "an empty one says nothing"


BARE = {  # a schema that is not here shows its keys in a test of its own
    "llava": lambda question: {"conversations": [{"from": "human", "value": question}, ANSWER]},
    "openai-messages": lambda question: {
        "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": "A."}]
    },
    "sharegpt4video": lambda question: {"captions": ["A."], "video_path": "a.mp4"},
}
KNOWN = [
    (schema.name, key, name)
    for schema in (SCHEMAS[name] for name in BARE)
    for key in schema.keys.keys
    for name in key.names
    if name not in (schema.sign, "id", "video_id")
]
VALUES = {
    "image": "a.jpg",
    "video": "a.mp4",
    "span": [1, 2],
    "segment": [1, 2],
    "timestamps": [1, 2],
    "frames": ["1.jpg"],
}


@pytest.mark.parametrize(("schema", "key", "name"), KNOWN, ids=[f"{schema}-{name}" for schema, _, name in KNOWN])
def test_what_the_table_of_keys_says_is_so(schema, key, name):
    """Each key of each table, in a record with an otherwise unremarkable conversation."""
    medium = next(
        (kind for kind in ("image", "video") if kind in name), "video" if name in ("clip", "frames") else None
    )
    if key.beside_video:
        value, record = VALUES.get(name, 1 if "start" in name else 2), BARE[schema]("<video>?") | {"video": "a.mp4"}
    elif key.use == "read" and medium is not None:
        value, record = VALUES.get(name, VALUES[medium]), BARE[schema](f"<{medium}>?")
        record.pop("video_path", None)
    else:
        value, record = ("Be brief." if "system" in name else 0 if key.use == "read" else "x"), BARE[schema]("Hi")
    result, _, counts = outcome({**record, name: value})
    match key.use:
        case "read":
            assert result == "kept"
            assert name in counts.read
        case "warned of":
            assert (result, name in counts.warned) == ("kept", True)
        case "rejected":
            assert result == "unread_key"
        case "not needed":
            assert (result, name in counts.warned, name in counts.read) == ("kept", False, False)


@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59_999))
def test_clock_times_are_seconds(hours, minutes, milliseconds):
    text = f"{hours:02d}:{minutes:02d}:{milliseconds / 1000:06.3f}"
    assert seconds(text, "start") == pytest.approx(hours * 3600 + minutes * 60 + milliseconds / 1000, abs=1e-6)


@given(st.text(max_size=30))
def test_any_name_is_judged(name):
    assert looks_like(name) in (None, "medium", "time", "weight", "role")
    assert part_in(name) in (None, "start", "end", "both", "unread")


def test_turns_under_a_second_name_are_warned_of():
    value = {**asking("Q"), "messages": [{"role": "user", "content": "Other"}]}
    assert outcome(value)[2].warned == {"messages": 1}
    assert outcome({**value, "conversation_id": 3, "messages": []})[2].warned == {}
