"""Conversations to token ids by the tokenizer's own chat template: the ids that it gives for the text it writes.

Unlike with our templates, the text is encoded as a whole, images being tokens of it, so that the ids are those of
`apply_chat_template`. An answer's tokens are found by where they stand in the text. White space in front of it is the
answer's where a token holds both (`own_prompt.py`). Where a token held what is asked and what is answered, the text is
cut between them: the ids before an answer are those of the prompt.
"""

import re
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from tokenizers import Tokenizer

from aurora_cli.constants import IMAGE, IMAGE_PLACEHOLDER
from aurora_cli.data.annotations.records import Record
from aurora_cli.data.token_store.labels import Span
from aurora_cli.data.tokenization.boundaries import (
    CUT,
    cut_backend,
    refuse_special_words,
    special_words,
    with_image_token,
)
from aurora_cli.data.tokenization.chat_template import ChatMessage, ChatTemplate
from aurora_cli.data.tokenization.own_prompt import QUESTION, answer_space, check_prompts, earlier_answers_differ
from aurora_cli.data.tokenization.rows import PLACEHOLDER, TOKEN_BYTES, EncodedConversation, packed
from aurora_cli.data.tokenization.templates import OWN_TEMPLATE, dialogue
from aurora_cli.data.tokenization.tokenizer import TextTokenizer
from aurora_cli.errors import UsageError

IMAGES = re.compile(re.escape(IMAGE))
ONE_TURN = ("user", "assistant")


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
        """
        Raises:
            UsageError: it has no template, or none that can be used.
        """
        self.backend = with_image_token(tokenizer.backend)
        self.backend.post_processor = None  # it may hide from offsets the space that a token begins with
        self.image_id = self.backend.token_to_id(IMAGE)
        self.template = own_template(tokenizer)
        self.special = special_words(self.backend, self.template.words)
        self.spaces: dict[str, int] = {}
        check_prompts(self)

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
            (start - self.space_of_answer(text[question_end:start]), end)
            for (_, question_end, _), (start, _, end), exchange in zip(
                spans[first::2], spans[first + 1 :: 2], exchanges, strict=True
            )
            if exchange.is_target
        ]
        return ChatText(text_segments(text, images, answers), lengths)

    def space_of_answer(self, between: str) -> int:
        """How many characters at the end of what stands between a question and its answer are the answer's."""
        if between not in self.spaces:
            self.spaces[between] = answer_space(self.backend, self.template.layout(ONE_TURN)[0] + QUESTION, between)
        return self.spaces[between]

    @cached_property
    def cutting(self) -> Tokenizer:
        """The backend that cuts at `CUT`."""
        return cut_backend(self.backend)

    def note(self) -> str | None:
        """What a user should know of the template."""
        return earlier_answers_differ(self)

    def prompt(self, messages: Sequence[ChatMessage]) -> str:
        """The text up to where the next answer begins.

        Raises:
            Rejection: the template refuses it.
        """
        text = self.template.before_answer(messages)
        between = self.template.layout((*(message.role for message in messages), "assistant"))[-2]
        return text[: len(text) - self.space_of_answer(between)]

    def prompt_ids(self, messages: Sequence[ChatMessage]) -> list[int]:
        """The ids before the next answer, a placeholder for each image.

        Raises:
            Rejection: the template refuses it.
        """
        ids = self.backend.encode(self.prompt(messages), add_special_tokens=False).ids
        return [IMAGE_PLACEHOLDER if token == self.image_id else token for token in ids]

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
                    ids, found = self.cut(
                        segment, encoding.offsets, index > 0, index < len(conversation.text_segments) - 1
                    )
                tokens += packed(ids)
                spans += [(start + offset, stop + offset) for start, stop in found]
            yield EncodedConversation(tokens, spans)

    def _encode(self, texts: list[str], counts: list[int]) -> list[TextEncoding]:
        """Each text as it is encoded between its neighbours, which are images; `counts`: texts of each conversation."""
        neighbours = [(index > 0, index < count - 1) for count in counts for index in range(count)]
        return between_images(self.backend, texts, neighbours)

    def cut(
        self, segment: TextSegment, offsets: list[Span], follows_image: bool, precedes_image: bool
    ) -> tuple[list[int], list[Span]]:
        """The segment cut in front of the targets that share a token with what is asked, as exports cut it."""
        starts = [start for start, _ in segment.targets if any(first < start < end for first, end in offsets)]
        text = CUT.join(segment.text[start:stop] for start, stop in pairwise([0, *starts, len(segment.text)]))
        targets = [
            (start + bisect_left(starts, start), stop + bisect_left(starts, stop)) for start, stop in segment.targets
        ]
        (encoding,) = between_images(self.cutting, [text], [(follows_image, precedes_image)])
        spans = token_spans(TextSegment(text, targets), encoding.offsets)
        return (encoding.ids, spans) if spans is not None else self.in_pieces(segment, follows_image=follows_image)

    def in_pieces(self, segment: TextSegment, *, follows_image: bool) -> tuple[list[int], list[Span]]:
        """The segment with each target encoded alone: as behind a special token, like an image."""
        borders = [0, *(at for target in segment.targets for at in target), len(segment.text)]
        pieces = [segment.text[start:stop] for start, stop in pairwise(borders)]
        marks = [IMAGE if follows_image or index else "" for index in range(len(pieces))]
        encoded = self.backend.encode_batch_fast(
            [mark + piece for mark, piece in zip(marks, pieces, strict=True)], add_special_tokens=False
        )
        ids: list[int] = []
        spans = []
        for index, (mark, encoding) in enumerate(zip(marks, encoded, strict=True)):
            start = len(ids)
            ids += encoding.ids[bool(mark) :]
            if index % 2 and len(ids) > start:
                spans.append((start, len(ids)))
        return ids, spans


def between_images(backend: Tokenizer, texts: list[str], neighbours: list[tuple[bool, bool]]) -> list[TextEncoding]:
    """Each text encoded with an image before and behind it, where it has these neighbours."""
    whole = [IMAGE * before + text + IMAGE * behind for text, (before, behind) in zip(texts, neighbours, strict=True)]
    encodings = backend.encode_batch(whole, add_special_tokens=False)
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
    """Where the target tokens of a segment are; None if one of them holds what stands in front of a target, or words
    behind it.
    """
    if not segment.targets:
        return []
    starts, ends = zip(*offsets, strict=True) if offsets else ((), ())
    spans = []
    for start, stop in segment.targets:
        first, behind = bisect_right(ends, start), bisect_left(starts, stop)
        if first >= behind:
            continue
        if starts[first] < start or segment.text[stop : ends[behind - 1]].strip():
            return None
        spans.append((first, behind))
    return spans
