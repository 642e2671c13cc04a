"""Conversations to token ids by the tokenizer's own chat template: the ids that it gives for the text it writes.

Unlike with our templates, text is encoded as a whole between images, so that the ids are those of
`apply_chat_template`. An answer's tokens are found by where they stand in the text. A token that an answer shares with
the space in front of it is the answer's; if it shared one with words, that segment of text is encoded in pieces.
"""

import re
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tokenizers import Encoding

from aurora_cli.constants import IMAGE
from aurora_cli.data.annotations.records import Record
from aurora_cli.data.token_store.labels import Span
from aurora_cli.data.tokenization.chat_template import ChatMessage, ChatTemplate
from aurora_cli.data.tokenization.rows import PLACEHOLDER, TOKEN_BYTES, EncodedConversation, packed
from aurora_cli.data.tokenization.templates import OWN_TEMPLATE, dialogue
from aurora_cli.data.tokenization.tokenizer import TextTokenizer
from aurora_cli.errors import UsageError

IMAGES = re.compile(re.escape(IMAGE))


class TextSegment(NamedTuple):
    """Text between images, and which of its characters are targets."""

    text: str
    targets: list[Span]


class ChatText(NamedTuple):
    """A conversation in the template's words, cut at its images."""

    text_segments: list[TextSegment]
    media_lengths: list[int]


class ChatEncoder:
    """Encodes by the tokenizer's own template."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self.backend = tokenizer.backend
        self.template = own_template(tokenizer)

    def render(self, record: Record, *, frames: int, images_are_video: bool) -> ChatText:
        """The record in the template's words. Parameters and exceptions are those of `dialogue`."""
        system, exchanges, lengths = dialogue(record, frames=frames, images_are_video=images_are_video)
        messages = [] if system is None else [ChatMessage("system", system)]
        for exchange in exchanges:
            messages += [ChatMessage("user", exchange.question), ChatMessage("assistant", exchange.answer)]
        text, spans = self.template.locate(messages)
        first = len(messages) - 2 * len(exchanges)
        images = [found.span() for start, stop, _ in spans[first::2] for found in IMAGES.finditer(text, start, stop)]
        answers = [
            (start, end)
            for (start, _, end), exchange in zip(spans[first + 1 :: 2], exchanges, strict=True)
            if exchange.is_target
        ]
        return ChatText(text_segments(text, images, answers), lengths)

    def encode(self, conversations: Sequence[ChatText]) -> Iterator[EncodedConversation]:
        """Each conversation's tokens, in order."""
        texts = [segment.text for conversation in conversations for segment in conversation.text_segments]
        encodings = iter(self.backend.encode_batch(texts, add_special_tokens=False))
        for conversation in conversations:
            tokens = bytearray()
            spans = []
            for index, (segment, encoding) in enumerate(zip(conversation.text_segments, encodings, strict=False)):
                tokens += PLACEHOLDER if index else b""
                offset = len(tokens) // TOKEN_BYTES
                ids, found = encoding.ids, token_spans(segment, encoding)
                if found is None:
                    ids, found = self.in_pieces(segment)
                tokens += packed(ids)
                spans += [(start + offset, stop + offset) for start, stop in found]
            yield EncodedConversation(tokens, spans)

    def in_pieces(self, segment: TextSegment) -> tuple[list[int], list[Span]]:
        """The segment with each target encoded alone."""
        ids: list[int] = []
        spans = []
        at = 0
        for start, stop in [*segment.targets, (len(segment.text), len(segment.text))]:
            before, target = (
                encoding.ids
                for encoding in self.backend.encode_batch_fast(
                    [segment.text[at:start], segment.text[start:stop]], add_special_tokens=False
                )
            )
            ids += [*before, *target]
            if target:
                spans.append((len(ids) - len(target), len(ids)))
            at = stop
        return ids, spans


def own_template(tokenizer: TextTokenizer) -> ChatTemplate:
    """The tokenizer's chat template.

    Raises:
        UsageError: it has none, or none that can be used.
    """
    if tokenizer.chat_template is None:
        raise UsageError(
            f"template: {OWN_TEMPLATE} needs a tokenizer with a chat template, and this one has none",
            hint="Put its chat_template.jinja beside the tokenizer, or use another --template.",
        )
    added = [token.content for token in tokenizer.backend.get_added_tokens_decoder().values()]
    return ChatTemplate(tokenizer.chat_template, tokenizer.special_tokens, added)


def text_segments(text: str, images: Sequence[Span], answers: Sequence[Span]) -> list[TextSegment]:
    """The text cut at its images. Both kinds of spans are in order, and no image stands in an answer."""
    cut = []
    waiting = deque(answers)
    begin = 0
    for stop, after in [*images, (len(text), len(text))]:
        targets = []
        while waiting and waiting[0][0] < stop:
            start, end = waiting.popleft()
            targets.append((start - begin, end - begin))
        cut.append(TextSegment(text[begin:stop], targets))
        begin = after
    return cut


def token_spans(segment: TextSegment, encoding: Encoding) -> list[Span] | None:
    """Where the target tokens of a segment are; None if one of them holds words that are no target."""
    if not segment.targets:
        return []
    starts, ends = zip(*encoding.offsets, strict=True) if encoding.offsets else ((), ())
    spans = []
    for start, stop in segment.targets:
        first, behind = bisect_right(ends, start), bisect_left(starts, stop)
        if first >= behind:
            continue
        if (segment.text[starts[first] : start] + segment.text[stop : ends[behind - 1]]).strip():
            return None
        spans.append((first, behind))
    return spans
