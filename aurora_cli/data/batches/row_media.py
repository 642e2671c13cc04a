"""The media of a row: each with its pixels, and the key that its features are kept under."""

import hashlib
import json
from typing import NamedTuple

import numpy as np

from aurora_cli.data.media.decoders.sampling import Span
from aurora_cli.data.media.reader import MediaReader
from aurora_cli.data.token_store.store import Row
from aurora_cli.errors import DataError


class Medium(NamedTuple):
    """An image, or a video with its frames: what one of a row's `media_lengths` counts."""

    frames: int
    images: list[str]
    """The files of its frames; none: `video` is one file, or a folder of frames."""
    video: str | None = None
    span: Span | None = None

    def pixels(self, media: MediaReader) -> np.ndarray:
        """(F, S, S, 3).

        Raises:
            DataError: it cannot be read; the message says why.
        """
        if self.video is None:
            return media.images(self.images)
        return media.video(self.video, self.frames, self.span)

    def key(self, media: MediaReader) -> bytes | None:
        """What its features are kept under: changes when a file does, or when other frames are taken. None: a file is
        missing. No file is read."""
        if self.video is None:
            facts = [media.image_versions(self.images)]
        else:
            versions = media.video_versions(self.video, self.frames)
            rule, fps = media.sampling
            facts = [versions, self.frames, rule, fps if rule == "fps" else None, self.span]
        if facts[0] is None:
            return None
        return hashlib.blake2b(json.dumps(facts).encode(), digest_size=16).digest()


def media_of(row: Row) -> list[Medium]:
    """The media of a row, in reading order.

    Raises:
        DataError: its files are not those that its tokens have placeholders for.
    """
    lengths = row.media_lengths if row.video is None else row.media_lengths[:-1]
    images = [*(row.image or ())]
    if len(images) != sum(lengths):
        found = len(images) + (row.media_lengths[-1] if row.video is not None and row.media_lengths else 0)
        raise DataError(f"{row.id}: {found} frames, where its tokens have placeholders for {sum(row.media_lengths)}")
    media, first = [], 0
    for length in lengths:
        media.append(Medium(length, images[first : first + length]))
        first += length
    if row.video is not None:
        media.append(Medium(row.media_lengths[-1], [], row.video, row.span))
    return media
