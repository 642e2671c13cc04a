"""A tokenizer's own chat template: Jinja that writes a conversation out, and where in its text the answers are.

Rendered as transformers' `apply_chat_template` does, in a sandbox, for the template is a stranger's code. Only the date
is missing (`strftime_now`): a rerun on another day must give the same tokens.

Where the texts went is found by rendering marks instead of them: what stands between two marks is the template's own.
Walking the real rendering by these pieces proves, record by record, that every text stands where it is thought to.
"""

import json
import re
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple

from jinja2 import Environment, TemplateError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from aurora_cli.data.annotations.records import Rejection
from aurora_cli.data.tokenization.boundaries import CUT
from aurora_cli.errors import UsageError

MARK = "\ue000{index}\ue001"
MARKS = re.compile("\ue000([0-9]+)\ue001")
ANSWER_MARK = MARK.format(index="answer")
REMEMBERED_LAYOUTS = 1_000

ROLE_NAMES = {"system": "system", "human": "user", "gpt": "assistant"}


class ChatMessage(NamedTuple):
    """A message as a chat template takes it."""

    role: str
    text: str


class MessageSpan(NamedTuple):
    """Where a message's text stands in a rendering."""

    start: int
    stop: int
    end_of_turn: int
    """Behind the token that ends the turn; `stop` if none does."""


class Generation(Extension):
    """`{% generation %}`, with which some templates mark answers: its body is rendered."""

    tags = {"generation"}  # noqa: RUF012

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class ChatTemplate:
    """A compiled template. `tokens` are the special tokens it may name, `added` those that may end a turn.

    Without `must_end` it may leave the end of an answer open (`end` is empty): nobody learns from it.
    """

    def __init__(self, source: str, tokens: dict[str, str], added: Iterable[str], *, must_end: bool = True) -> None:
        self.arguments = (source, tokens, [*added])
        self.must_end = must_end
        self.tokens = tokens
        self.special = re.compile("|".join(map(re.escape, sorted(self.arguments[2], key=len, reverse=True))) or "(?!)")
        try:
            self.template = environment().from_string(source)
        except TemplateError as error:
            raise UsageError(f"template: the tokenizer's chat template cannot be read: {error}") from error
        self.in_parts = False
        self.layouts: dict[tuple[str, ...], list[str]] = {}
        self.end = self.end_of_turn()

    def __reduce__(self) -> tuple[Any, ...]:
        return partial(ChatTemplate, must_end=self.must_end), self.arguments

    def end_of_turn(self) -> str:
        """The token that ends an answer; also finds out how the template wants its texts."""
        failure = ""
        for self.in_parts in (False, True):
            try:
                tail = self.layout(("user", "assistant"))[-1]
            except Rejection as rejection:
                failure = rejection.detail
                continue
            found = self.special.match(tail.lstrip())
            if found is None and not self.must_end:
                return ""
            if found is None:
                raise UsageError(
                    "template: the tokenizer's chat template ends an answer with no special token, "
                    "so a model would not learn to stop",
                    hint="Use one of the other templates.",
                )
            return found[0]
        raise UsageError(f"template: the tokenizer's chat template does not write a conversation out: {failure}")

    @property
    def words(self) -> str:
        """What it writes around a question and its answer."""
        return "".join(self.layout(("user", "assistant")))

    def render(self, messages: Sequence[ChatMessage], *, add_generation_prompt: bool = False) -> str:
        """The conversation's text.

        Raises:
            Rejection: the template refuses it.
        """
        given = [
            {"role": role, "content": [{"type": "text", "text": text}] if self.in_parts else text}
            for role, text in messages
        ]
        try:
            return self.template.render(
                messages=given,
                tools=None,
                documents=None,
                add_generation_prompt=add_generation_prompt,
                **self.tokens,
            )
        except Exception as error:  # a stranger's code may fail in any way
            raise Rejection("chat_template", f"{type(error).__name__}: {error}") from error

    def before_answer(self, messages: Sequence[ChatMessage]) -> str:
        """What it writes in front of the answer to these messages, if there is one.

        That is what `add_generation_prompt` is for; but some templates write less there, or more, than before answers.

        Raises:
            Rejection: the template refuses it.
        """
        text, mark, _ = self.render([*messages, ChatMessage("assistant", ANSWER_MARK)]).rpartition(ANSWER_MARK)
        if not mark:
            raise Rejection("chat_template", "the answer is not written")
        return text

    def layout(self, roles: tuple[str, ...]) -> list[str]:
        """What the template writes before, between and behind the texts of messages from these roles."""
        if roles not in self.layouts:
            if len(self.layouts) >= REMEMBERED_LAYOUTS:
                self.layouts.clear()
            marked = self.render([ChatMessage(role, MARK.format(index=index)) for index, role in enumerate(roles)])
            pieces = MARKS.split(marked)
            if pieces[1::2] != [str(index) for index in range(len(roles))]:
                raise Rejection("chat_template", f"not every text of {', '.join(roles[:6])} is written once, in order")
            self.layouts[roles] = pieces[::2]
        return self.layouts[roles]

    def locate(self, messages: Sequence[ChatMessage]) -> tuple[str, list[MessageSpan]]:
        """The conversation's text, and where each message stands in it.

        Raises:
            Rejection: the template refuses the conversation, or changes a text by more than the space around it.
        """
        pieces = self.layout(tuple(message.role for message in messages))
        text = self.render(messages)
        if not text.startswith(pieces[0]):
            raise Rejection("chat_template", "it begins otherwise than with other texts")
        at = len(pieces[0])
        spans = []
        for index, (message, following) in enumerate(zip(messages, pieces[1:], strict=True)):
            for variant in variants(message.text):
                stop = at + len(variant)
                if text.startswith(variant, at) and text.startswith(following, stop):
                    break
            else:
                raise Rejection("chat_template", f"it changes turn {index} ({message.role})")
            space = len(following) - len(following.lstrip())
            ended = following.startswith(self.end, space)
            spans.append(MessageSpan(at, stop, stop + space + len(self.end) if ended else stop))
            at = stop + len(following)
        if at != len(text):
            raise Rejection("chat_template", "it ends otherwise than with other texts")
        return text, spans


def variants(text: str) -> list[str]:
    """A text as it is, without the space that templates are known to strip, and cut off as our exports do it."""
    bare = [text, text.strip(), text.lstrip(), text.rstrip(), text.strip("\n"), text.lstrip("\n"), text.rstrip("\n")]
    return [*bare, CUT + text]


def environment() -> Environment:
    """Jinja as chat templates expect it."""
    jinja = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
    jinja.filters["tojson"] = to_json
    jinja.globals.update(raise_exception=raise_exception)  # pyrefly: ignore[bad-argument-type]
    return jinja


def to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    """The filter `tojson` as transformers has it: Jinja's own escapes HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def raise_exception(message: str) -> None:
    """What templates call to refuse a conversation."""
    raise TemplateError(message)
