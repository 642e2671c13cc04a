"""A line becomes a record, or a reason."""

import json

import pytest

from aurora_cli.data.annotations.records import REASONS, Message, Record, Rejection
from aurora_cli.data.annotations.schemas import parse_record

TURNS = [{"from": "human", "value": "Q"}, {"from": "gpt", "value": "A"}]


def parse(**fields) -> Record:
    return parse_record(json.dumps({"conversations": TURNS, **fields}).encode(), "file.jsonl:3")


def reason_of(raw: bytes | dict) -> str:
    raw = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    with pytest.raises(Rejection) as caught:
        parse_record(raw, "file.jsonl:3")
    assert caught.value.reason in REASONS
    return caught.value.reason


def test_a_record_keeps_its_turns_as_they_were_written():
    record = parse(id="a", image="x.jpg")
    assert record == Record("a", ["x.jpg"], None, [Message("human", "Q"), Message("gpt", "A")])


@pytest.mark.parametrize(
    ("given", "expected"),
    [({"id": 7}, "7"), ({"id": 1.5}, "1.5"), ({"id": "x"}, "x"), ({"id": None}, "file.jsonl:3"), ({}, "file.jsonl:3")],
)
def test_ids_are_strings_and_missing_ones_are_the_location(given, expected):
    assert parse(**given).id == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [("a.jpg", ["a.jpg"]), (["a.jpg", "b.jpg"], ["a.jpg", "b.jpg"]), (None, None), ([], None), ("", None)],
)
def test_images_are_a_list_or_none_and_never_empty(given, expected):
    assert parse(image=given).images == expected


def test_a_video_is_a_path_or_a_list_of_one():
    assert parse(video="c.mp4").video == "c.mp4"
    assert parse(video=["c.mp4"]).video == "c.mp4"


def test_user_and_assistant_mean_human_and_gpt():
    turns = [{"from": "system", "value": "S"}, {"from": "user", "value": "Q"}, {"from": "assistant", "value": "A"}]
    assert [message.role for message in parse(conversations=turns).messages] == ["system", "human", "gpt"]


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b"{", "bad_json"),
        (b'{"id": 1,}', "bad_json"),
        (b'{"id": "\xff"}', "bad_json"),
        (b"[" * 100_000, "bad_json"),
        (b'{"id": ' + b"9" * 5_000 + b"}", "bad_json"),
        (b"[]", "not_an_object"),
        (b"null", "not_an_object"),
        ({}, "no_conversation"),
        ({"conversations": {"from": "human"}}, "no_conversation"),
        ({"conversations": ["Q"]}, "no_conversation"),
        ({"conversations": [{"value": "Q"}]}, "unknown_role"),
        ({"conversations": [{"from": ["human"], "value": "Q"}]}, "unknown_role"),
        ({"conversations": [{"from": "tool", "value": "Q"}]}, "unknown_role"),
        ({"conversations": [*TURNS, {"from": "system", "value": "S"}]}, "unknown_role"),
        ({"conversations": [{"from": "human", "value": None}]}, "null_text"),
        ({"conversations": [{"from": "human"}]}, "null_text"),
        ({"conversations": [{"from": "human", "value": 3}]}, "bad_text"),
        ({"conversations": [{"from": "human", "value": "\ud800"}]}, "bad_unicode"),
        ({"conversations": TURNS, "image": "\udc00.jpg"}, "bad_unicode"),
        ({"conversations": TURNS, "image": 3}, "bad_media"),
        ({"conversations": TURNS, "image": ["a.jpg", None]}, "bad_media"),
        ({"conversations": TURNS, "video": ["a.mp4", "b.mp4"]}, "bad_media"),
        ({"conversations": TURNS, "image": "a.jpg", "video": "a.mp4"}, "mixed_media"),
    ],
)
def test_what_cannot_be_used_has_a_reason(raw, reason):
    assert reason_of(raw) == reason


def test_escaped_surrogate_pairs_and_nul_are_text_like_any_other():
    raw = rb'{"conversations": [{"from": "human", "value": "\ud83d\ude00 \u0000"}, {"from": "gpt", "value": "A"}]}'
    assert parse_record(raw, "x:1").messages[0].text == "\U0001f600 \0"
