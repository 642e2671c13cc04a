"""Rows of the token store as they are gathered: the tokens of many records, one behind the other, and their columns.

Tokens are held as bytes of int32: pieces that are remembered are joined without a Python integer being made.
"""

from typing import NamedTuple

import numpy as np

from aurora_cli.constants import IGNORE_INDEX, IMAGE_PLACEHOLDER, VIDEO
from aurora_cli.data.annotations.keys import KeyCounts
from aurora_cli.data.annotations.records import Record
from aurora_cli.data.annotations.records import Span as TimeSpan
from aurora_cli.data.media.decoders.sampling import evenly_spaced
from aurora_cli.data.token_store.columns import EncodedRecords
from aurora_cli.data.token_store.labels import Span
from aurora_cli.data.token_store.rejected import RejectedRecord

TOKEN_BYTES = 4


def packed(ids: list[int]) -> bytes:
    """Ids as bytes of int32."""
    return np.array(ids, dtype=np.int32).tobytes()


PLACEHOLDER = packed([IMAGE_PLACEHOLDER])


class EncodedConversation(NamedTuple):
    """A record's tokens, not cut yet."""

    tokens: bytearray
    """Of int32."""
    target_spans: list[Span]
    """Where the target tokens are."""


class Rows:
    """Rows as they are gathered."""

    def __init__(self, max_length: int) -> None:
        self.max_length = max_length
        self.tokens = bytearray()
        self.spans: list[Span] = []
        self.columns: list[
            tuple[str, list[str] | None, str | None, list[int], int, int, TimeSpan | None, str | None]
        ] = []

    def append(self, record: Record, media_lengths: list[int], encoded: EncodedConversation) -> bool:
        """Add a row, cut to the longest that is allowed; False, and no row, if that leaves no target token."""
        tokens, spans = encoded
        length = len(tokens) // TOKEN_BYTES
        if length > self.max_length:
            length = self.max_length
            del tokens[length * TOKEN_BYTES :]
            spans = [(start, min(stop, length)) for start, stop in spans if start < length]
            placeholders = int((np.frombuffer(tokens, np.int32) == IMAGE_PLACEHOLDER).sum())
            record, media_lengths = cut_media(record, media_lengths, placeholders)
        if not spans:
            return False
        offset = len(self.tokens) // TOKEN_BYTES
        self.tokens += tokens
        self.spans += [(start + offset, stop + offset) for start, stop in spans]
        target_tokens = sum(stop - start for start, stop in spans)
        self.columns.append(
            (
                record.id,
                record.images,
                record.video,
                media_lengths,
                length,
                target_tokens,
                record.span,
                record.group,
            )
        )
        return True

    def encoded(self, rejected: list[RejectedRecord], keys: KeyCounts) -> EncodedRecords:
        """All rows as columns, with the records that gave none."""
        input_ids = np.frombuffer(self.tokens, dtype=np.int32)
        labels = np.full(len(input_ids), IGNORE_INDEX, dtype=np.int32)
        for start, stop in self.spans:
            labels[start:stop] = input_ids[start:stop]
        ids, images, videos, media_lengths, lengths, target_tokens, spans, groups = (
            zip(*self.columns, strict=True) if self.columns else [()] * 8
        )
        return EncodedRecords(
            list(ids),
            list(images),
            list(videos),
            list(media_lengths),
            list(lengths),
            list(target_tokens),
            input_ids,
            labels,
            rejected,
            list(spans) if any(spans) else None,
            keys.read,
            keys.warned,
            group=list(groups) if any(groups) else None,
        )


def cut_media(record: Record, media_lengths: list[int], placeholders: int) -> tuple[Record, list[int]]:
    """Only the media whose placeholders a cut leaves: later images are dropped, a video keeps its first frames."""
    lengths: list[int] = []
    for length in media_lengths:
        if taken := min(length, placeholders - sum(lengths)):
            lengths.append(taken)
    images = record.images[: sum(lengths)] if record.images else None
    video = record.video if lengths else None
    return record._replace(images=images or None, video=video, span=record.span if video else None), lengths


def with_frames_sampled(record: Record, frames: int) -> Record:
    """A record whose video is a list of frames, with at most `frames` of them, spread evenly; others as they are."""
    if not record.is_frame_list or record.images is None or len(record.images) <= frames:
        return record
    if not any(VIDEO in message.text for message in record.messages):
        return record
    return record._replace(images=[record.images[index] for index in evenly_spaced(len(record.images), frames)])
