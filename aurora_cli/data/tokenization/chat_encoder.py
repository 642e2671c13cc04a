"""Conversations to token ids by the tokenizer's own chat template: the ids that it gives for the text it writes.

Unlike with our templates, the text is encoded as a whole, images being tokens of it, so that the ids are those of
`apply_chat_template`. An answer's tokens are found by where they stand in the text. A token that an answer shares with
the space in front of it is the answer's; if it shared one with words, that segment of text is encoded in pieces.
"""

import re
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from aurora_cli.constants import IMAGE
from aurora_cli.data.annotations.records import Record
from aurora_cli.data.token_store.labels import Span
from aurora_cli.data.tokenization.boundaries import refuse_special_words, special_words, with_image_token
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


class TextEncoding(NamedTuple):
    """The ids of a text, and the characters that each stands for."""

    ids: list[int]
    offsets: list[Span]


class ChatText(NamedTuple):
    """A conversation in the template's words, cut at its images."""

    text_segments: list[TextSegment]
    media_lengths: list[int]


class ChatEncoder:
    """Encodes by the tokenizer's own template."""

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self.backend = with_image_token(tokenizer.backend)
        self.template = own_template(tokenizer)
        self.special = special_words(self.backend, self.template.words)

    def render(self, record: Record, *, frames: int, images_are_video: bool, in_order: bool = False) -> ChatText:
        """The record in the template's words. Parameters and exceptions are those of `dialogue`."""
        refuse_special_words(record, self.special)
        system, exchanges, lengths = dialogue(
            record, frames=frames, images_are_video=images_are_video, in_order=in_order
        )
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
        segments = [conversation.text_segments for conversation in conversations]
        encodings = iter(self._encode([segment.text for each in segments for segment in each], [*map(len, segments)]))
        for conversation in conversations:
            tokens = bytearray()
            spans = []
            for index, (segment, encoding) in enumerate(zip(conversation.text_segments, encodings, strict=False)):
                tokens += PLACEHOLDER if index else b""
                offset = len(tokens) // TOKEN_BYTES
                ids, found = encoding.ids, token_spans(segment, encoding.offsets)
                if found is None:
                    ids, found = self.in_pieces(segment)
                tokens += packed(ids)
                spans += [(start + offset, stop + offset) for start, stop in found]
            yield EncodedConversation(tokens, spans)

    def _encode(self, texts: list[str], counts: list[int]) -> list[TextEncoding]:
        """Each text as it is encoded between its neighbours, which are images; `counts`: texts of each conversation."""
        neighbours = [(index > 0, index < count - 1) for count in counts for index in range(count)]
        whole = [
            IMAGE * before + text + IMAGE * behind for text, (before, behind) in zip(texts, neighbours, strict=True)
        ]
        encodings = self.backend.encode_batch(whole, add_special_tokens=False)
        return [
            TextEncoding(
                encoding.ids[before : len(encoding.ids) - behind],
                [
                    (start - len(IMAGE) * before, stop - len(IMAGE) * before)
                    for start, stop in encoding.offsets[before : len(encoding.ids) - behind]
                ],
            )
            for encoding, (before, behind) in zip(encodings, neighbours, strict=True)
        ]

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


def own_template(tokenizer: TextTokenizer, *, must_end: bool = True) -> ChatTemplate:
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
    return ChatTemplate(tokenizer.chat_template, tokenizer.special_tokens, added, must_end=must_end)


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


def token_spans(segment: TextSegment, offsets: list[Span]) -> list[Span] | None:
    """Where the target tokens of a segment are; None if one of them holds words that are no target."""
    if not segment.targets:
        return []
    starts, ends = zip(*offsets, strict=True) if offsets else ((), ())
    spans = []
    for start, stop in segment.targets:
        first, behind = bisect_right(ends, start), bisect_left(starts, stop)
        if first >= behind:
            continue
        if (segment.text[starts[first] : start] + segment.text[stop : ends[behind - 1]]).strip():
            return None
        spans.append((first, behind))
    return spans
