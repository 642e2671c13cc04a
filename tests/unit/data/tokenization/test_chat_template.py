"""A tokenizer's own chat template: where the texts stand, and what is refused."""

import pickle

import pytest

from aurora_cli.data.annotations.records import Rejection
from aurora_cli.data.tokenization.chat_template import ChatMessage, ChatTemplate
from aurora_cli.errors import UsageError
from tests.chat_templates import CHAT_TEMPLATES

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
ADDED = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|eot_id|>"]
CHAT = [
    ChatMessage("user", "Q?"),
    ChatMessage("assistant", " A. "),
    ChatMessage("user", " R? "),
    ChatMessage("assistant", "B."),
]


def template(source: str) -> ChatTemplate:
    return ChatTemplate(source, TOKENS, ADDED)


def simple(answer: str) -> str:
    return (
        "{% for m in messages %}{% if m.role == 'user' %}[{{ m.content }}]"
        "{% else %}" + answer + "{% endif %}{% endfor %}"
    )


@pytest.mark.parametrize("name", CHAT_TEMPLATES)
def test_every_text_is_found_where_it_stands(name):
    chat = template(CHAT_TEMPLATES[name].source)
    text, spans = chat.locate(CHAT)
    for message, (start, stop, end_of_turn) in zip(CHAT, spans, strict=True):
        assert text[start:stop] in (message.text, message.text.strip())
        if message.role == "assistant":
            assert text[stop:end_of_turn].strip() == CHAT_TEMPLATES[name].end


def test_a_template_survives_the_way_to_another_process():
    chat = pickle.loads(pickle.dumps(template(CHAT_TEMPLATES["parts"].source)))
    assert chat.in_parts
    assert chat.end == "</s>"
    assert chat.render(CHAT[:1], add_generation_prompt=True) == "<s>[user]Q?\n"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{% for %}", "cannot be read"),
        (simple("{{ m.content }}"), "ends an answer with no special token"),
        (simple("{{ m.content }}###{{ eos_token }}"), "ends an answer with no special token"),
        ("{{ messages | length }}", "does not write a conversation out"),
        (simple("{{ strftime_now('%Y') }}{{ m.content }}</s>"), "strftime_now"),
        (simple("{{ ''.__class__.__mro__ }}{{ m.content }}</s>"), "does not write a conversation out"),
        ("{% for m in messages | reverse %}{{ m.content }}</s>{% endfor %}", "does not write a conversation out"),
    ],
)
def test_a_template_that_cannot_be_used_is_a_usage_error(source, message):
    with pytest.raises(UsageError, match=message):
        template(source)


@pytest.mark.parametrize(
    ("source", "messages", "detail"),
    [
        (CHAT_TEMPLATES["brackets"].source, [CHAT[0], CHAT[0], CHAT[1]], "roles must alternate"),
        (simple("{{ m.content | lower }}</s>"), CHAT, "changes turn 1"),
        (simple("{{ m.content.split('|')[-1] }}</s>"), [CHAT[0], ChatMessage("assistant", "x|A")], "changes turn 1"),
        ("{{ 'Long' if messages[0].content | length > 50 }}" + simple("{{ m.content }}</s>"),
         [ChatMessage("user", "x" * 60), CHAT[1]], "begins otherwise"),
    ],
)  # fmt: skip
def test_a_conversation_that_a_template_changes_is_rejected(source, messages, detail):
    with pytest.raises(Rejection, match=detail) as caught:
        template(source).locate(messages)
    assert caught.value.reason == "chat_template"


def test_an_end_that_only_some_answers_have_is_a_target_only_there():
    source = simple("{{ m.content }}{% if loop.last %}</s>{% else %};{% endif %}")
    text, spans = template(source).locate(CHAT)
    assert [text[start:end] for start, _, end in spans[1::2]] == [" A. ", "B.</s>"]
