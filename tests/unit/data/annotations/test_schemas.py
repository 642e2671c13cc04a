"""Records in the forms that data sets are published in."""

import json
from pathlib import Path

import pytest

from aurora_cli.constants import VIDEO_QUESTION
from aurora_cli.data.annotations.records import REASONS, Message, Record, Rejection
from aurora_cli.data.annotations.schemas import SIGNS, meaning_of, parse_record

QUESTION = {"role": "user", "content": "What?"}
ANSWER = {"role": "assistant", "content": "A cat."}


def parse(schema="auto", **fields) -> Record:
    return parse_record(json.dumps(fields).encode(), "file.jsonl:3", schema)


def test_the_page_says_of_every_reason_what_it_means():
    page = (Path(__file__).parents[4] / "docs/preparing-text.md").read_text()
    assert [reason for reason in REASONS if f"| `{reason}` | {meaning_of(reason)} |\n" not in page] == []
    assert all(f"`{sign}`" in meaning_of("no_conversation") for sign in SIGNS)


def reason_of(schema="auto", **fields) -> str:
    with pytest.raises(Rejection) as caught:
        parse(schema, **fields)
    assert caught.value.reason in REASONS
    return caught.value.reason


def asking(*parts, **fields) -> Record:
    return parse(messages=[{"role": "user", "content": [*parts]}, ANSWER], **fields)


def test_a_video_is_described_by_the_caption_of_the_whole():
    record = parse(
        video_id="j5Jq",
        video_path="panda/j5Jq.mp4",
        timestamp=["00:00:00", "00:00:02"],
        keyframe=[0, 48],
        captions=[{"idx": "0", "content": "First."}, {"idx": "-1", "content": "All of it."}],
        zip_folder="panda_videos_1.zip",
    )
    messages = [Message("human", f"<video>\n{VIDEO_QUESTION}"), Message("gpt", "All of it.")]
    assert record == Record("j5Jq", None, "panda/j5Jq.mp4", messages)


@pytest.mark.parametrize(
    "captions",
    [
        "One.\nTwo.",
        ["One.", "Two."],
        [{"idx": "0", "content": "One."}, {"idx": "48", "content": "Two."}],
        [{"content": "One."}, "Two."],
    ],
)
def test_without_a_caption_of_the_whole_those_of_the_parts_follow_one_another(captions):
    assert parse(video_path="a.mp4", captions=captions).messages[1].text == "One.\nTwo."


def test_a_video_without_an_id_has_the_place_as_its_id():
    assert parse(video_path="a.mp4", captions=["A."]).id == "file.jsonl:3"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"captions": []}, "no_conversation"),
        ({"captions": None}, "null_text"),
        ({"captions": [None]}, "null_text"),
        ({"captions": [{"idx": "-1"}]}, "null_text"),
        ({"captions": [{"idx": "-1", "content": 3}]}, "bad_text"),
        ({"captions": ["A."], "video_path": None}, "bad_media"),
        ({"captions": ["A."], "video_path": 3}, "bad_media"),
        ({"captions": ["A."], "video_path": "https://x.org/a.mp4"}, "remote_media"),
    ],
)
def test_captions_that_cannot_be_used_have_a_reason(fields, reason):
    assert reason_of(**{"video_path": "a.mp4", **fields}) == reason


def test_messages_are_turns():
    system = {"role": "developer", "content": "Be kind."}
    assert parse(id=1, messages=[system, QUESTION, ANSWER]) == Record(
        "1", None, None, [Message("system", "Be kind."), Message("human", "What?"), Message("gpt", "A cat.")]
    )


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "a/1.jpg", "detail": "low"}},
        {"type": "image_url", "image_url": "a/1.jpg"},
        {"type": "input_image", "image_url": "a/1.jpg"},
        {"type": "image", "image": "a/1.jpg"},
        {"type": "image", "url": "a/1.jpg"},
        {"type": "image", "path": "a/1.jpg"},
    ],
)
def test_a_image_among_the_parts_has_its_place_in_front_of_the_words(part):
    record = asking({"type": "text", "text": "One."}, part, {"type": "input_text", "text": "Two."})
    assert record.images == ["a/1.jpg"]
    assert record.messages[0] == Message("human", "<image>One.\nTwo.")


def test_a_file_address_is_a_path():
    assert asking({"type": "image_url", "image_url": {"url": "file:///a%20b/c.jpg"}}).images == ["/a b/c.jpg"]


@pytest.mark.parametrize("part", [{"type": "video", "video": "a.mp4"}, {"type": "video_url", "video_url": "a.mp4"}])
def test_a_video_among_the_parts_is_the_records_video(part):
    record = asking(part, {"type": "text", "text": "What?"})
    assert (record.video, record.messages[0].text) == ("a.mp4", "<video>What?")


@pytest.mark.parametrize("content", ["<image>What? <image>", [{"type": "image"}, {"type": "image"}, "What?"]])
def test_images_may_stand_beside_the_messages(content):
    record = parse(images=["1.jpg", "2.jpg"], messages=[{"role": "user", "content": content}, ANSWER])
    assert record.images == ["1.jpg", "2.jpg"]
    assert record.messages[0].text.count("<image>") == 2


def test_an_answer_of_weight_0_is_no_target():
    record = parse(messages=[QUESTION, {**ANSWER, "weight": 0}, QUESTION, {**ANSWER, "weight": 1}])
    assert [message.is_target for message in record.messages] == [True, False, True, True]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([{"type": "image_url", "image_url": {"url": "https://x.org/1.jpg"}}], "remote_media"),
        ([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}], "remote_media"),
        ([{"type": "image", "image": "s3://bucket/1.jpg"}], "remote_media"),
        ([{"type": "image_url", "image_url": {"url": 3}}], "bad_media"),
        ([{"type": "video", "video": ["1.mp4", "2.mp4"]}], "bad_media"),
        ([{"type": "video", "video": ["1.jpg", 2]}], "bad_media"),
        ([{"type": "video", "video": "1.mp4"}, {"type": "video", "video": "2.mp4"}], "bad_media"),
        ([{"type": "image", "image": "1.jpg"}, {"type": "video", "video": "2.mp4"}], "mixed_media"),
        ([{"type": "input_audio", "input_audio": {}}], "bad_text"),
        ([{"type": "text", "text": None}], "null_text"),
        ([3], "bad_text"),
        ({"type": "text"}, "bad_text"),
        (None, "null_text"),
    ],
)
def test_contents_that_cannot_be_used_have_a_reason(content, reason):
    assert reason_of(messages=[{"role": "user", "content": content}, ANSWER]) == reason


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"messages": "hi"}, "no_conversation"),
        ({"messages": ["hi"]}, "no_conversation"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "unknown_role"),
        ({"messages": [QUESTION, {"role": "assistant", "content": None, "tool_calls": []}]}, "null_text"),
        ({"messages": [QUESTION, {"role": "assistant", "content": [{"type": "image", "image": "1"}]}]}, "bad_media"),
        ({"messages": [QUESTION, ANSWER], "images": ["data:,"]}, "remote_media"),
        ({"text": "hi"}, "no_conversation"),
        ({}, "no_conversation"),
    ],
)
def test_records_that_cannot_be_used_have_a_reason(fields, reason):
    assert reason_of(**fields) == reason


def test_media_in_the_messages_and_beside_them_are_too_many():
    content = [{"type": "image", "image": "1.jpg"}]
    assert reason_of(messages=[{"role": "user", "content": content}, ANSWER], images=["2.jpg"]) == "bad_media"


def test_a_schema_that_is_named_is_not_guessed():
    turns = [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]
    both = {"conversations": turns, "messages": [QUESTION, ANSWER]}
    assert parse(**both).messages[0].text == "Q"
    assert parse("openai-messages", **both).messages[0].text == "What?"
    assert reason_of("sharegpt4video", **both) == "null_text"
    assert reason_of("llava", messages=[QUESTION, ANSWER]) == "no_conversation"


def test_llava_turns_may_have_the_names_of_messages():
    assert parse(conversations=[QUESTION, ANSWER]).messages == [Message("human", "What?"), Message("gpt", "A cat.")]
