"""A row of a token store as a person reads it: its ids, its text with the target tokens marked, its media."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from tokenizers import Tokenizer

from aurora_cli.data.token_store.labels import Span, answer_spans
from aurora_cli.data.token_store.store import Row
from aurora_cli.data.tokenization.tokenizer import decode
from aurora_cli.io.data_uri import shown

TARGET = ">>>{text}<<<"
"""Marks the text of target tokens. Plain ASCII: it shows on every terminal and in every log."""

SHOWN_IDS = 64
SHOWN_CHARACTERS = 2_000


@dataclass(frozen=True)
class RowPreview:
    """One row."""

    id: str
    image: list[str] | None
    video: str | None
    media_lengths: list[int]
    length: int
    target_tokens: int
    input_ids: list[int]
    span: tuple[float, float | None] | None
    """Seconds of the part of the video; without an end it goes to the video's."""
    text: str
    """Decoded, `<image>` for an image or frame, that of target tokens between >>> and <<<."""

    def lines(self) -> list[str]:
        media = self.video or ", ".join(map(shown, self.image or ())) or "none"
        if self.span is not None:
            media += f" from {self.span[0]:g} s to " + ("its end" if self.span[1] is None else f"{self.span[1]:g} s")
        ids = " ".join(map(str, self.input_ids[:SHOWN_IDS])) + (" ..." if self.length > SHOWN_IDS else "")
        text = self.text if len(self.text) <= SHOWN_CHARACTERS else self.text[:SHOWN_CHARACTERS] + " ..."
        return [
            f"  id: {self.id}",
            f"  media: {media} (frames: {', '.join(map(str, self.media_lengths)) or 'none'})",
            f"  input_ids ({self.length}, {self.target_tokens} target tokens): {ids}",
            f"  text (>>>target tokens<<<): {text}",
        ]


def preview_of(row: Row, backend: Tokenizer) -> RowPreview:
    """What a person wants to see of a row, its text decoded."""
    return RowPreview(
        id=row.id,
        image=row.image,
        video=row.video,
        media_lengths=row.media_lengths,
        length=len(row.input_ids),
        target_tokens=sum(stop - start for start, stop in answer_spans(row.labels)),
        input_ids=row.input_ids.tolist(),
        span=None if row.span is None else (row.span[0], row.span[1] if math.isfinite(row.span[1]) else None),
        text=marked_text(row.input_ids, row.labels, backend),
    )


def marked_text(input_ids: np.ndarray, labels: np.ndarray, backend: Tokenizer) -> str:
    """The decoded text, every run of target tokens between marks."""
    pieces = text_pieces(input_ids, labels, backend)
    return "".join(TARGET.format(text=text) if is_target else text for text, is_target in pieces)


def text_pieces(input_ids: np.ndarray, labels: np.ndarray, backend: Tokenizer) -> list[tuple[str, bool]]:
    """The decoded text in pieces, and whether each is of target tokens."""
    pieces = []
    at = 0
    for start, stop in [*answer_spans(labels), (len(labels), len(labels))]:
        if at < start:
            pieces.append((decode(backend, input_ids[at:start].tolist()), False))
        if start < stop:
            pieces.append((decode(backend, input_ids[start:stop].tolist()), True))
        at = stop
    return pieces


def mark_spans(text: str, spans: Iterable[Span]) -> str:
    """A text with some spans of its characters between marks.

    >>> mark_spans("Q: A.", [(3, 5)])
    'Q: >>>A.<<<'
    """
    parts, at = [], 0
    for start, stop in spans:
        parts += [text[at:start], TARGET.format(text=text[start:stop])]
        at = stop
    return "".join([*parts, text[at:]])
