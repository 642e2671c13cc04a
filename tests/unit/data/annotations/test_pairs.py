"""Records that are pairs of questions and answers: Alpaca's, ms-swift's, VideoChat2's, The Cauldron's."""

import json

import pytest

from aurora_cli.data.annotations.records import Rejection
from aurora_cli.data.annotations.schemas import parse_record

VIDEO, IMAGE = {"video": "a.mp4"}, {"images": ["a.jpg"]}


def read(value):
    return parse_record(json.dumps(value).encode(), "x.jsonl:7")


def texts(value):
    return [message.text for message in read(value).messages]


@pytest.mark.parametrize(
    ("value", "turns"),
    [
        ({"instruction": "Describe.", "input": "", "output": "A dog."}, ["<image>\nDescribe.", "A dog."]),
        ({"instruction": "Name it.", "input": "Be brief.", "output": "Dog."}, ["<image>\nName it.\nBe brief.", "Dog."]),
        (
            {"instruction": "And?", "output": "B.", "history": [["What?", "A."]], "system": "Answer."},
            ["Answer.", "<image>\nWhat?", "A.", "And?", "B."],
        ),
        ({"query": "What is <image>?", "response": "A."}, ["What is <image>?", "A."]),
        ({"query": "And?", "response": "B.", "history": [["What?", "A."]]}, ["<image>\nWhat?", "A.", "And?", "B."]),
        ({"QA": [{"i": "Describe it.", "q": "", "a": "A."}]}, ["<image>\nDescribe it.", "A."]),
        (
            {
                "QA": [
                    {"i": "I.", "q": "What?", "a": "A."},
                    {"i": "I.", "q": "Where?", "a": "B."},
                    {"q": "Who?", "a": "C."},
                ]
            },
            ["<image>\nI.\nWhat?", "A.", "Where?", "B.", "Who?", "C."],
        ),
        (
            {"texts": [{"user": "What?", "assistant": "A.", "source": "x"}, {"user": "And?", "assistant": "B."}]},
            ["<image>\nWhat?", "A.", "And?", "B."],
        ),
    ],
)
def test_every_pair_is_a_question_and_its_answer_with_the_image_in_front(value, turns):
    record = read({**value, **IMAGE})
    assert ([message.text for message in record.messages], record.images) == (turns, ["a.jpg"])


def test_a_video_and_its_part_stand_beside_the_pairs():
    record = read({**VIDEO, "QA": [{"i": "Answer.", "q": "What?", "a": "A."}], "start": 1.0, "end": 4.0})
    assert (record.video, record.span, record.messages[0].text) == ("a.mp4", (1.0, 4.0), "<video>\nAnswer.\nWhat?")


def test_text_alone_has_no_placeholder_and_two_images_have_two():
    assert texts({"query": "What?", "response": "A."}) == ["What?", "A."]
    assert texts({"query": "What?", "response": "A.", "images": ["a.jpg", "b.jpg"]})[0] == "<image><image>\nWhat?"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"output": "A."}, "null_text"),
        ({"instruction": "What?", "output": None}, "null_text"),
        ({"query": "What?", "response": "A.", "history": [["What?"]]}, "no_conversation"),
        ({"QA": {"q": "What?", "a": "A."}}, "no_conversation"),
        ({"QA": []}, "no_conversation"),
        ({"texts": ["A cat."]}, "no_conversation"),
        ({"texts": [{"user": ["What?"], "assistant": "A."}]}, "bad_text"),
        ({"query": "What?", "response": "A.", "loss_mask": [1]}, None),
    ],
)
def test_what_is_no_pair_has_a_reason(value, reason):
    if reason is None:
        assert read(value).unread == ("loss_mask",)
        return
    with pytest.raises(Rejection) as rejected:
        read(value)
    assert rejected.value.reason == reason
