"""Hashes of what is captioned, of 96 bits: three sums of all words of a key, each word times a random number.

The words have 32 bits, the numbers 64, and of a sum the upper half counts. Such hashes are strongly universal
(Dietzfelbinger et al., "A reliable randomized algorithm for the closest-pair problem", 1997): two keys that differ,
whatever they are, have equal hashes with a probability of 2**-96, by this process's draw of the numbers. Of ten million
keys, which make 5e13 pairs, some two have with a probability of 6e-16.

Legend of shapes: N keys, W words, 3 sums.
"""

import secrets
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np

from aurora_cli.captioning.result import Part

CaptionKey: TypeAlias = tuple[str, str | int | None, Part | None, str | None]
"""What is captioned: the medium, the row's id, span and prompt."""

WORD, CHECK = "word", "check"
HASH = np.dtype([(WORD, np.uint64), (CHECK, np.uint32)], align=True)
"""`WORD` says where a table has it, and is never 0; `CHECK` tells those of equal words apart."""

NOTHING, TEXT, NUMBER = 0, 1, 2
"""What a key has in a field; a number is the text of its digits."""

OPEN, PAIR = 1, 2
"""What a span is, if it is not NOTHING: from a time on, or from one to another."""

_MEDIA, _ID, _SPAN, _PROMPT = range(4)
_WIDTH = 16
"""Words that are summed at once."""
_SEED = secrets.randbits(128)
_UPPER = np.uint64(32)
_KEPT = np.array([(1 << 8 * count) - 1 for count in range(9)], np.uint64)
"""What of two words counts that have so many bytes before the text ends."""


class Texts(NamedTuple):
    """A field of keys."""

    data: np.ndarray
    """Bytes of all, in UTF-8."""
    starts: np.ndarray
    """(N,) int64, where each begins."""
    lengths: np.ndarray
    """(N,) int64, its bytes."""
    kinds: np.ndarray
    """(N,) NOTHING, TEXT or NUMBER; of NOTHING the length is 0."""


class Spans(NamedTuple):
    """The parts of keys."""

    starts: np.ndarray
    """(N,) float64, 0 where there is none."""
    ends: np.ndarray
    """(N,) float64, 0 where there is none."""
    kinds: np.ndarray
    """(N,) NOTHING, OPEN or PAIR."""


def hashes_of(keys: Iterable[CaptionKey]) -> np.ndarray:
    """(N,) of HASH. They hold within this process."""
    keys = [*keys]
    return hashes_of_columns(
        texts_of([media for media, _, _, _ in keys]),
        texts_of([name for _, name, _, _ in keys]),
        _spans_of([span for _, _, span, _ in keys]),
        texts_of([prompt for _, _, _, prompt in keys]),
    )


def hashes_of_columns(media: Texts, ids: Texts | None, spans: Spans | None, prompts: Texts | None) -> np.ndarray:
    """The same, by the column; none: no key has it."""
    sums = np.zeros((len(media.starts), 3), np.uint64)
    _add_texts(sums, _MEDIA, media)
    for field, texts in ((_ID, ids), (_PROMPT, prompts)):
        if texts is not None:
            _add_texts(sums, field, texts)
    if spans is not None:
        times = np.stack([spans.starts, spans.ends], axis=1) + 0.0  # of two zeros one
        words = np.concatenate([spans.kinds[:, None], np.ascontiguousarray(times).view(np.uint32)], axis=1)
        sums += words.astype(np.uint64) @ _numbers(_SPAN, 0)[: words.shape[1]]
    sums >>= _UPPER
    hashes = np.empty(len(sums), HASH)
    hashes[WORD] = np.maximum(sums[:, 0] << _UPPER | sums[:, 1], 1)
    hashes[CHECK] = sums[:, 2]
    return hashes


def texts_of(values: Sequence[str | int | None]) -> Texts:
    """A field of keys that are no columns yet."""
    raws = [b"" if value is None else _encoded(value) for value in values]
    lengths = np.fromiter(map(len, raws), np.int64, len(raws))
    kinds = [NOTHING if value is None else TEXT if isinstance(value, str) else NUMBER for value in values]
    return Texts(
        np.frombuffer(b"".join(raws), np.uint8), lengths.cumsum() - lengths, lengths, np.array(kinds, np.int64)
    )


def _encoded(value: str | int) -> bytes:
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else b"%d" % value


def _spans_of(spans: Sequence[Part | None]) -> Spans | None:
    if not any(spans):
        return None
    kinds = [NOTHING if span is None else OPEN if span[1] is None else PAIR for span in spans]
    starts = [0.0 if span is None else span[0] for span in spans]
    ends = [0.0 if span is None or span[1] is None else span[1] for span in spans]
    return Spans(np.array(starts, np.float64), np.array(ends, np.float64), np.array(kinds))


def _add_texts(sums: np.ndarray, field: int, texts: Texts) -> None:
    """Add a field to the (N, 3) sums: what it is, its length, and its words, the last of which zeros fill up."""
    head = np.stack([texts.kinds, texts.lengths], axis=1).astype(np.uint64)
    sums += head @ _numbers(field, 0)[:2]
    longest = int(texts.lengths.max(initial=0))
    if longest == 0:
        return
    data = np.concatenate([texts.data, np.zeros(4 * _WIDTH + 8, np.uint8)])
    pairs = np.ndarray(len(data) - 7, np.uint64, data, strides=(1,))  # two words at each byte
    for block, first in enumerate(range(0, longest, 4 * _WIDTH), start=1):
        rows = np.flatnonzero(texts.lengths > first) if first else slice(None)
        steps = np.arange(0, min(4 * _WIDTH, longest - first), 8)
        left = (texts.lengths[rows] - first)[:, None] - steps
        found = pairs[(texts.starts[rows] + first)[:, None] + steps] & _KEPT[np.minimum(np.maximum(left, 0), 8)]
        sums[rows] += found.view(np.uint32).astype(np.uint64) @ _numbers(field, block)[: 2 * len(steps)]


@lru_cache(maxsize=4096)
def _numbers(field: int, block: int) -> np.ndarray:
    """(W, 3) the random numbers of some words of a field; a block of its own for each _WIDTH of them."""
    draw = np.random.default_rng(np.random.SeedSequence(_SEED, spawn_key=(field, block)))
    return draw.integers(0, 2**64, (_WIDTH, 3), np.uint64)
