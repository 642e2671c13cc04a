"""A row of a token store as a person reads it: its ids, its text with what is taught marked, its media."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from tokenizers import Tokenizer

from aurora_cli.constants import IGNORE_INDEX
from aurora_cli.data.token_store.store import Row
from aurora_cli.data.tokenization.tokenizer import decode

TAUGHT = ">>>{text}<<<"
"""Marks taught text. Plain ASCII: it shows on every terminal and in every log."""

SHOWN_IDS = 64
SHOWN_CHARACTERS = 2_000


@dataclass(frozen=True)
class Sample:
    """One row."""

    id: str
    image: list[str] | None
    video: str | None
    media_lengths: list[int]
    length: int
    taught: int
    input_ids: list[int]
    text: str
    """Decoded, `<image>` for an image or frame, the taught parts between >>> and <<<."""

    def lines(self) -> list[str]:
        media = self.video or ", ".join(self.image or ()) or "none"
        ids = " ".join(map(str, self.input_ids[:SHOWN_IDS])) + (" ..." if self.length > SHOWN_IDS else "")
        text = self.text if len(self.text) <= SHOWN_CHARACTERS else self.text[:SHOWN_CHARACTERS] + " ..."
        return [
            f"  id: {self.id}",
            f"  media: {media} (frames: {', '.join(map(str, self.media_lengths)) or 'none'})",
            f"  input_ids ({self.length}, {self.taught} taught): {ids}",
            f"  text (>>>taught<<<): {text}",
        ]


def sample_of(row: Row, backend: Tokenizer) -> Sample:
    return Sample(
        id=row.id,
        image=row.image,
        video=row.video,
        media_lengths=row.media_lengths,
        length=len(row.input_ids),
        taught=int((row.labels != IGNORE_INDEX).sum()),
        input_ids=row.input_ids.tolist(),
        text=marked_text(row.input_ids, row.labels, backend),
    )


def marked_text(input_ids: np.ndarray, labels: np.ndarray, backend: Tokenizer) -> str:
    """The decoded text, every run of taught tokens between marks."""
    return "".join(TAUGHT.format(text=text) if taught else text for text, taught in runs(input_ids, labels, backend))


def runs(input_ids: np.ndarray, labels: np.ndarray, backend: Tokenizer) -> list[tuple[str, bool]]:
    """The decoded text in pieces, and whether each is taught."""
    taught = labels != IGNORE_INDEX
    starts = [0, *(np.flatnonzero(np.diff(taught)) + 1).tolist(), len(taught)]
    return [
        (decode(backend, input_ids[start:stop].tolist()), bool(taught[start]))
        for start, stop in pairwise(starts)
        if stop > start
    ]
