"""The chat template of GGUF files writes what training wrote, for messages as llama.cpp's programs send them."""

from pathlib import Path
from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from aurora_cli.export.llama_cpp.chat import chat_template
from aurora_cli.export.tokenizer import export_tokenizer

TINY = Path(__file__).parents[4] / "presets" / "tiny" / "tokenizer"
QUESTION = "Describe the video."


def rendered(content: Any) -> str:
    text, notes = chat_template("vicuna", export_tokenizer(TINY))
    assert notes == []
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    messages = [{"role": "user", "content": content}]
    return environment.from_string(text).render(messages=messages, add_generation_prompt=True)


def written(*marks: str) -> str:
    return f"<s>USER: {' '.join(marks)}\n{QUESTION} ASSISTANT:"


@pytest.mark.parametrize(
    ("content", "marks"),
    [
        ([{"type": "text", "text": "<__media__>"}, {"type": "text", "text": QUESTION}], ["<__media__>"]),
        (
            [{"type": "text", "text": QUESTION}, {"type": "media_marker", "text": "<__media_x9Z__>"}],
            ["<__media_x9Z__>"],
        ),
        (f"<__media__>\n{QUESTION}", ["<__media__>"]),
        (f"{QUESTION}<__media_a__><__media_a__>", ["<__media_a__>"] * 2),
        (
            [{"type": "image_url", "image_url": {"url": "data:..."}}, {"type": "text", "text": QUESTION}],
            ["<__media__>"],
        ),
    ],
    ids=["parts", "a mark of its own behind", "one text", "two marks in a text", "not replaced"],
)
def test_marks_of_images_go_in_front_a_space_apart(content: Any, marks: list[str]) -> None:
    assert rendered(content) == written(*marks)


def test_words_alone_stay_as_they_are() -> None:
    assert rendered("What is  it? ") == "<s>USER: What is  it?  ASSISTANT:"
