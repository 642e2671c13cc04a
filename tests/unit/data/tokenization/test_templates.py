"""Conversations in a template's words; images and their placeholders."""

import pytest

from aurora_cli.data.annotations.records import Message, Record, Rejection
from aurora_cli.data.tokenization.templates import TEMPLATES, Turn, render

VICUNA = TEMPLATES["vicuna"]


def record(*texts: tuple[str, str], images=None, video=None) -> Record:
    return Record("x", images, video, [Message(role, text) for role, text in texts])  # type: ignore[arg-type]


def turns(given: Record, template=VICUNA, **options):
    return render(given, template, **{"frames": 3, "images_are_video": False, **options})


def test_images_move_to_the_front_of_their_message():
    given = record(("human", "One <image> two<image>. "), ("gpt", "A"), images=["a", "b"])
    assert turns(given).turns == [Turn(["USER: ", " ", "\nOne  two. ASSISTANT:"], "A")]
    assert turns(given).media_lengths == [1, 1]


def test_a_message_without_images_keeps_its_spaces():
    assert turns(record(("human", "  Q \n"), ("gpt", " A "))).turns == [Turn(["USER:   Q \n ASSISTANT:"], " A ")]


def test_questions_in_a_row_become_one_each_with_its_images_in_front():
    given = record(("human", "First "), ("human", "second <image>"), ("gpt", "A"), images=["a"])
    assert turns(given).turns == [Turn(["USER: First ", "\nsecond ASSISTANT:"], "A")]


def test_answers_before_and_questions_after_are_dropped():
    given = record(("gpt", "Hi <image>"), ("human", "Q"), ("gpt", "A"), ("gpt", "B"), ("human", "<image>"))
    assert turns(given).turns == [Turn(["USER: Q ASSISTANT:"], "A"), Turn(["USER:  ASSISTANT:"], "B")]


def test_a_system_turn_stands_before_the_first_question():
    given = record(("system", "Be kind."), ("gpt", "Hi"), ("human", "<image>"), ("gpt", "A"), images=["a"])
    assert turns(given).turns == [Turn(["Be kind. USER: ", " ASSISTANT:"], "A")]


def test_a_video_is_frames_joined_like_images():
    given = record(("human", "See <video> here"), ("gpt", "A"), video="c.mp4")
    assert turns(given).turns == [Turn(["USER: ", " ", " ", "\nSee  here ASSISTANT:"], "A")]
    assert turns(given).media_lengths == [3]


def test_without_a_video_the_word_is_text():
    given = record(("human", "What is <video> in HTML?"), ("gpt", "A"))
    assert turns(given).turns == [Turn(["USER: What is <video> in HTML? ASSISTANT:"], "A")]


def test_an_answer_may_speak_of_images():
    given = record(("human", "<image>"), ("gpt", "Write <image> there."), images=["a"])
    assert turns(given).turns == [Turn(["USER: ", " ASSISTANT:"], "Write <image> there.")]


def test_a_list_of_images_may_be_one_video():
    given = record(("human", "<image><image>"), ("gpt", "A"), images=["a", "b"])
    assert turns(given, images_are_video=True).media_lengths == [2]


def test_the_plain_template_keeps_images_and_answers_only():
    given = record(("human", "<image>\nDescribe."), ("gpt", "A cat."), images=["a"])
    assert turns(given, TEMPLATES["plain"]).turns == [Turn(["", "\n"], "A cat.")]


def test_braces_in_a_question_are_text():
    assert turns(record(("human", "{text} {x}"), ("gpt", "A"))).turns[0].prompt == ["USER: {text} {x} ASSISTANT:"]


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (record(), "no_answer"),
        (record(("human", "Q")), "no_answer"),
        (record(("gpt", "A")), "no_answer"),
        (record(("gpt", "A"), ("human", "Q")), "no_answer"),
        (record(("human", "Q"), ("gpt", "A"), images=["a"]), "image_count"),
        (record(("human", "<image>"), ("gpt", "A")), "image_count"),
        (record(("human", "<image><image>"), ("gpt", "A"), images=["a"]), "image_count"),
        (record(("human", "Q"), ("gpt", "A"), ("human", "<image>"), images=["a"]), "image_count"),
        (record(("human", "Q"), ("gpt", "A"), video="c"), "video_count"),
        (record(("human", "<video><video>"), ("gpt", "A"), video="c"), "video_count"),
        (record(("human", "<image><image><image>"), ("gpt", "A"), video="c"), "image_count"),
    ],
)
def test_conversations_that_do_not_fit_are_rejected(given, reason):
    with pytest.raises(Rejection) as caught:
        turns(given)
    assert caught.value.reason == reason
