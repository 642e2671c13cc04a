"""Conversations to token ids by one of our templates: every chunk (the words between images, an answer, a separator)
is encoded alone, as the original training code did.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property

from aurora_cli.data.annotations.records import Record
from aurora_cli.data.tokenization.boundaries import refuse_special_words, special_words, with_our_templates
from aurora_cli.data.tokenization.rows import PLACEHOLDER, TOKEN_BYTES, EncodedConversation, packed
from aurora_cli.data.tokenization.templates import Conversation, get_template, lacking, render
from aurora_cli.data.tokenization.tokenizer import TextTokenizer
from aurora_cli.data.tokenization.word_cache import WordCache, word_cache

CACHED_BYTES = 8 << 20
"""Of texts and tokens of prompts that are remembered before all are forgotten: questions repeat, answers do not."""


class TurnEncoder:
    """Encodes by one template. Keeps the tokens of prompts, because they repeat."""

    def __init__(self, tokenizer: TextTokenizer, template: str) -> None:
        self.backend = with_our_templates(tokenizer.backend)
        self.template = get_template(template)
        self.special = special_words(self.backend, self.template.words)
        self.begin = one_token(tokenizer, self.template.begin, tokenizer.bos_token, template)
        self.end = one_token(tokenizer, self.template.end, tokenizer.eos_token, template)
        self.separator = packed(self.backend.encode(self.template.separator, add_special_tokens=False).ids)
        self.cache: dict[str, bytes] = {}
        self.cached_bytes = 0

    @cached_property
    def words(self) -> WordCache | None:
        """Made by the process that encodes."""
        return word_cache(self.backend)

    def render(self, record: Record, *, frames: int, images_are_video: bool, in_order: bool = False) -> Conversation:
        """The record in the template's words. Parameters and exceptions are those of `dialogue`."""
        refuse_special_words(record, self.special)
        return render(record, self.template, frames=frames, images_are_video=images_are_video, in_order=in_order)

    def encode(self, conversations: Sequence[Conversation]) -> Iterator[EncodedConversation]:
        """Each conversation's tokens, in order."""
        turns = [turn for conversation in conversations for turn in conversation.turns]
        if self.cached_bytes > CACHED_BYTES:
            self.cache.clear()
            self.cached_bytes = 0
        new = [*{chunk: None for turn in turns for chunk in turn.prompt if chunk not in self.cache}]
        encoded = self.encode_texts(new + [turn.answer for turn in turns])
        for chunk, ids in zip(new, encoded, strict=False):
            self.cache[chunk] = ids
            self.cached_bytes += len(chunk) + len(ids)
        answers = iter(encoded[len(new) :])
        return (self._joined(conversation, answers) for conversation in conversations)

    def note(self) -> str | None:
        """What a user should know of the template: nothing, ours write every turn alike."""
        return None

    def encode_texts(self, texts: list[str]) -> list[bytes]:
        """The ids of each text, as bytes of int32."""
        if self.words is not None:
            return self.words.encode(texts)
        return [packed(encoding.ids) for encoding in self.backend.encode_batch_fast(texts, add_special_tokens=False)]

    def _joined(self, conversation: Conversation, answers: Iterator[bytes]) -> EncodedConversation:
        tokens = bytearray()
        spans = []
        for index, (prompt, _, is_target) in enumerate(conversation.turns):
            if index == 0 or self.template.begin_every_turn:
                tokens += self.begin
            tokens += PLACEHOLDER.join([self.cache[chunk] for chunk in prompt])
            start = len(tokens) // TOKEN_BYTES
            tokens += next(answers)
            tokens += self.end
            stop = len(tokens) // TOKEN_BYTES
            if is_target and stop > start:
                spans.append((start, stop))
            tokens += self.separator
        return EncodedConversation(tokens, spans)


def one_token(tokenizer: TextTokenizer, wanted: str | None, default: str | None, template: str) -> bytes:
    """The token that a template wants (none: the default): one, or none for an empty one.

    Raises:
        UsageError: the tokenizer has no such token.
    """
    text = default if wanted is None else wanted
    if not text:
        return b""
    token = tokenizer.backend.token_to_id(text)
    if token is None:
        raise lacking(template, text)
    return packed([token])
