"""A question in the words of training, up to where the answer begins."""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from aurora_cli.constants import IMAGE, IMAGE_PLACEHOLDER, VIDEO
from aurora_cli.data.annotations.records import Message, Record, Rejection, Role
from aurora_cli.data.tokenization.boundaries import special_words, with_image_token, with_our_templates
from aurora_cli.data.tokenization.templates import OWN_TEMPLATE, Template, get_template, images_first, lacking
from aurora_cli.data.tokenization.tokenizer import TextTokenizer
from aurora_cli.errors import UsageError

if TYPE_CHECKING:
    from aurora_cli.data.tokenization.encoder import ConversationEncoder

_ANSWER = "A"
"""Stands for the answer that a conversation is asked for; what comes before it depends on no answer."""


class ChatTurn(NamedTuple):
    """What one side of a conversation says."""

    role: Role
    text: str
    images: int = 0
    """Images and frames in front of the text."""


class Prompter:
    """Writes questions by the template of that name, and knows the tokens that end their answers.

    `is_foreign`: of a model that others trained by the tokenizer's own template. Then the tokenizer adds what it adds
    to any text that does not begin with its BOS, as transformers' processors let it.

    Raises:
        UsageError: there is no such template, or the tokenizer cannot write it.
    """

    def __init__(self, tokenizer: TextTokenizer, template: str, *, is_foreign: bool = False) -> None:
        self.tokenizer = tokenizer
        self.template = template
        self.images_only = False
        self._is_foreign = is_foreign
        if template == OWN_TEMPLATE:
            words, end = self._write_by_its_own(is_foreign)
        else:
            words, end = self._write_by_ours(get_template(template))
        self.special = special_words(tokenizer.backend, words)
        self.end_id = self.token_id(end)
        self.end_ids = [*dict.fromkeys([self.end_id, self.token_id(tokenizer.eos_token)])]
        """What an answer ends with: the template's end, and what ends any text of this tokenizer."""

    def _write_by_its_own(self, is_foreign: bool) -> tuple[str, str]:
        """Set how questions are encoded; the template's own words, and what ends an answer."""
        from aurora_cli.data.tokenization.chat_encoder import ChatEncoder, own_template
        from aurora_cli.data.tokenization.chat_template import ChatMessage

        tokenizer = self.tokenizer
        own = own_template(tokenizer, must_end=not is_foreign)
        encoder = None if is_foreign else ChatEncoder(tokenizer)
        backend = with_image_token(tokenizer.backend)
        image_id = backend.token_to_id(IMAGE)

        def encode_chat(messages: list[ChatMessage]) -> list[int]:
            try:
                if encoder is not None:
                    return encoder.prompt_ids(messages)
                written = own.render(messages, add_generation_prompt=True)
            except Rejection as rejection:
                raise UsageError(f"prompt: the model's chat template refuses it: {rejection.detail}") from rejection
            begun = tokenizer.bos_token is not None and written.startswith(tokenizer.bos_token)
            ids = backend.encode(written, add_special_tokens=not begun).ids
            return [IMAGE_PLACEHOLDER if token == image_id else token for token in ids]

        self.encode = lambda text: encode_chat([ChatMessage("user", text)])
        self._encode_chat = encode_chat
        return own.words, own.end or tokenizer.eos_token

    def _write_by_ours(self, template: Template) -> tuple[str, str]:
        """The same for one of our templates."""
        tokenizer = self.tokenizer
        self.images_only = template.images_only
        backend = with_our_templates(tokenizer.backend)
        begin = tokenizer.bos_token if template.begin is None else template.begin
        first = [self.token_id(begin)] if begin else []

        def encode(text: str) -> list[int]:
            ids = [*first]
            for number, chunk in enumerate(template.prompt.replace("{text}", text).split(IMAGE)):
                ids += [IMAGE_PLACEHOLDER] if number else []
                ids += backend.encode(chunk, add_special_tokens=False).ids
            return ids

        self.encode = encode
        return template.words, tokenizer.eos_token if template.end is None else template.end

    def token_id(self, token: str) -> int:
        """
        Raises:
            UsageError: the vocabulary has no such token.
        """
        found = self.tokenizer.backend.token_to_id(token)
        if found is None:
            raise lacking(self.template, token)
        return found

    def check(self, text: str, name: str) -> None:
        """
        Raises:
            UsageError: the text, by its name, holds a placeholder or another special token.
        """
        check_prompt(text, name)
        if found := self.special.search(text):
            raise UsageError(f"{name}: holds {found[0]}, a special token of the model: it would not be read as words")

    def ids(self, question: str, images: int) -> list[int]:
        """The prompt's tokens, a placeholder for each image or frame.

        Raises:
            UsageError: the question holds a placeholder of its own, or another special token.
        """
        self.check(question, "prompt")
        return self.encode(images_first(IMAGE * images + question, frames=None, images_only=self.images_only))

    def chat_ids(self, turns: Sequence[ChatTurn]) -> list[int]:
        """The prompt's tokens of a conversation whose last turn is a question; earlier answers as in training.

        Raises:
            UsageError: a text holds a placeholder or another special token, or the template refuses the conversation.
        """
        if len(turns) == 1:
            return self.ids(turns[0].text, turns[0].images)
        for number, turn in enumerate(turns):
            self.check(turn.text, f"turn {number}")
        if self._is_foreign and self.template == OWN_TEMPLATE:
            return self._foreign_chat_ids(turns)
        messages = [Message(turn.role, IMAGE * turn.images + turn.text, bool(turn.text)) for turn in turns]
        images = ["an image"] * sum(turn.images for turn in turns)
        record = Record("", images or None, None, [*messages, Message("gpt", _ANSWER)])
        try:
            rendered = self._conversations.render(record, frames=1, images_are_video=False, in_order=False)
            ((tokens, spans),) = self._conversations.encode([rendered])
        except Rejection as rejection:
            raise UsageError(
                f"the conversation cannot be written: {rejection.reason}: {rejection.detail}"
            ) from rejection
        start, _ = spans[-1]
        return np.frombuffer(tokens, np.int32)[:start].tolist()

    @cached_property
    def _conversations(self) -> "ConversationEncoder":
        from aurora_cli.data.tokenization.encoder import conversation_encoder

        return conversation_encoder(self.tokenizer, self.template)

    def _foreign_chat_ids(self, turns: Sequence[ChatTurn]) -> list[int]:
        from aurora_cli.data.tokenization.chat_template import ROLE_NAMES, ChatMessage

        texts = [images_first(IMAGE * turn.images + turn.text, frames=None) for turn in turns]
        return self._encode_chat(
            [ChatMessage(ROLE_NAMES[turn.role], text) for turn, text in zip(turns, texts, strict=True)]
        )


def check_prompt(question: str, name: str = "prompt") -> None:
    """
    Raises:
        UsageError: the question, by its name in the settings, holds a placeholder.
    """
    if found := next((each for each in (IMAGE, VIDEO) if each in question), None):
        raise UsageError(
            f"{name}: holds {found}, which stands for a medium in annotations",
            hint="Leave it out: images and frames are put in front of the question.",
        )
