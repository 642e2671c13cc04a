"""What the summaries of a token store add up to. A piece at a time: 20 M rows take no more memory than one."""

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from aurora_cli.data.token_store.store import Summary

SHARES = 20
"""Bins of the share of target tokens in a row, 5 % each."""

NARROW = 40
"""Bins of the fine histogram of lengths at most."""


class Bin(NamedTuple):
    """Rows with a number from `first` to `last`, both included."""

    first: int
    last: int
    rows: int

    @property
    def name(self) -> str:
        return f"{self.first}" if self.first == self.last else f"{self.first}-{self.last}"


class StoreNumbers:
    """Counts of rows by length, share of target tokens and media, and sums over all rows."""

    def __init__(self, summaries: Iterable[Summary]) -> None:
        self.rows = self.tokens = self.target_tokens = self.media = self.videos = self.frames = 0
        self.by_length = np.zeros(1, np.int64)
        """Rows of every length."""
        self.by_media = np.zeros(1, np.int64)
        """Rows of every number of media."""
        self.by_frames = np.zeros(1, np.int64)
        """Rows of every number of frames."""
        self.by_share = np.zeros(SHARES, np.int64)
        """Rows by the share of their tokens that are targets; the last bin holds 100 % too."""
        for summary in summaries:
            self._add(summary)

    def _add(self, summary: Summary) -> None:
        self.rows += len(summary.length)
        self.tokens += int(summary.length.sum(dtype=np.int64))
        self.target_tokens += int(summary.target_tokens.sum(dtype=np.int64))
        self.media += int(summary.media.sum(dtype=np.int64))
        self.videos += int(summary.videos.sum(dtype=np.int64))
        self.frames += int(summary.frames.sum(dtype=np.int64))
        self.by_length = added(self.by_length, np.bincount(summary.length))
        self.by_media = added(self.by_media, np.bincount(summary.media))
        self.by_frames = added(self.by_frames, np.bincount(summary.frames))
        shares = summary.target_tokens.astype(np.int64) * SHARES // np.maximum(summary.length, 1)
        self.by_share += np.bincount(np.minimum(shares, SHARES - 1), minlength=SHARES)

    @property
    def without_media(self) -> int:
        return int(self.by_media[0])

    def length_at(self, share: float) -> int:
        """The length that at least this share of the rows does not exceed."""
        return int(np.searchsorted(np.cumsum(self.by_length), share * self.rows))

    def lengths(self) -> dict[str, float]:
        """min, median, mean, p95 and max of the lengths."""
        if not self.rows:
            return {}
        there = np.flatnonzero(self.by_length)
        mean = round(self.tokens / self.rows, 1)
        ends = int(there[0]), int(there[-1])
        return {
            "min": ends[0],
            "median": self.length_at(0.5),
            "mean": mean,
            "p95": self.length_at(0.95),
            "max": ends[1],
        }

    def doubling_lengths(self) -> list[Bin]:
        """Rows by length, every bin twice as wide as the one before."""
        edges = [1, 16]
        while edges[-1] < len(self.by_length):
            edges.append(edges[-1] * 2)
        return binned(self.by_length, edges) if self.rows else []

    def even_lengths(self) -> list[Bin]:
        """Rows by length, in bins of one round width."""
        return even_bins(self.by_length) if self.rows else []

    def frame_counts(self) -> list[Bin]:
        """Rows by their number of frames, in bins of one round width."""
        return even_bins(self.by_frames) if self.rows else []

    def media_counts(self, single: int = 10) -> list[Bin]:
        """Rows by their number of media: 0, 1, 2 and so on, and all from `single` on together."""
        counts = self.by_media
        bins = [Bin(count, count, int(rows)) for count, rows in enumerate(counts[:single])]
        return [*bins, Bin(single, len(counts) - 1, int(counts[single:].sum()))] if len(counts) > single else bins


def added(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The sum of two arrays of counts, the shorter one meaning zeros behind its end."""
    longer, shorter = (first, second) if len(first) >= len(second) else (second, first)
    longer = longer.astype(np.int64)
    longer[: len(shorter)] += shorter
    return longer


def binned(counts: np.ndarray, edges: Iterable[int]) -> list[Bin]:
    """
    >>> binned(np.array([0, 2, 0, 1, 4]), [1, 3, 5])
    [Bin(first=1, last=2, rows=2), Bin(first=3, last=4, rows=5)]
    """
    return [Bin(start, stop - 1, int(counts[start:stop].sum())) for start, stop in pairwise(edges)]


def even_bins(counts: np.ndarray) -> list[Bin]:
    width = round_width(len(counts), NARROW)
    return binned(counts, range(0, len(counts) + width, width))


def round_width(longest: int, bins: int) -> int:
    """The smallest of 1, 2, 5, 10, 20, 50 ... of which so many make `longest`.

    >>> round_width(40, 40), round_width(41, 40), round_width(4096, 40)
    (1, 2, 200)
    """
    power = 1
    while True:
        for width in (power, 2 * power, 5 * power):
            if width * bins >= longest:
                return width
        power *= 10
