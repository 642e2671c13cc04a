"""Training samples out of merged folders: which there are, how long each becomes, and one of them with its frames.

`Corpus` knows two integers a sample and is kept by the training process; `SampleReader` opens stores and media and
is used where samples are read, in a loader's worker.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from aurora_cli.data.batches.collator import TokenCounts
from aurora_cli.data.token_store.store import open_store
from aurora_cli.errors import DataError, UsageError
from aurora_cli.runs.lines import Rejection

WEIGHT_STREAM = 2
"""Keeps the random numbers of fractional weights apart from those of plan and order."""


@dataclass(frozen=True)
class Source:
    """One merged folder, and how often an epoch takes it."""

    folder: Path
    workspace: Path
    """Where the media roots that the folder's manifest names start from."""
    weight: float = 1.0
    media_root: Path | None = None
    """Looked into instead of the manifest's."""


def split_weight(text: str) -> tuple[str, float]:
    """`DIR:weight` as the user writes it.

    >>> split_weight("tokenized/vision/m3it/merged:0.5"), split_weight("some/folder")
    (('tokenized/vision/m3it/merged', 0.5), ('some/folder', 1.0))
    """
    folder, colon, last = text.rpartition(":")
    try:
        weight = float(last)
    except ValueError:
        return text, 1.0
    if not colon or not folder:
        return text, 1.0
    if not 0 < weight < float("inf"):
        raise UsageError(f"{text}: the weight behind the colon is {last}, a number above 0 was expected")
    return folder, weight


class Corpus:
    """All samples of a run, numbered through its sources: `lengths` in language-model tokens, and `frames`."""

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        token_counts: TokenCounts,
        pack_tokens: int,
        pack_frames: int,
        too_long: Literal["cut", "reject"],
        validation_share: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.sources = list(sources)
        self.seed = seed
        summaries = [open_store(source.folder).summary() for source in self.sources]
        self.starts = np.cumsum([0, *(len(summary.length) for summary in summaries)])
        self.lengths = np.empty(self.starts[-1], np.int32)
        self.frames = np.empty(self.starts[-1], np.int32)
        fits = np.empty(self.starts[-1], bool)
        self.cut = 0
        """Samples whose last answer is cut at the end to fit a pack."""
        self.media_too_large = 0
        """Samples left out because no pack holds their images and videos, which are never cut."""
        self.most_visual, self.most_frames = 0, 0
        """Visual tokens, and frames, of the largest of these."""
        for start, summary in zip(self.starts, summaries, strict=False):
            part = slice(start, start + len(summary.length))
            visual = token_counts.in_all(summary.frames, summary.videos)
            lengths = summary.length - summary.frames + visual
            beyond = lengths > pack_tokens
            # media are never cut, and one token before the first that is taught must stay
            possible = (visual + 2 <= pack_tokens) & (summary.frames <= pack_frames)
            fits[part] = possible & ~beyond if too_long == "reject" else possible
            self.cut += int((beyond & fits[part]).sum())
            self.media_too_large += int((~possible).sum())
            self.most_visual = max(self.most_visual, int(visual[~possible].max(initial=0)))
            self.most_frames = max(self.most_frames, int(summary.frames[~possible].max(initial=0)))
            self.lengths[part] = np.minimum(lengths, pack_tokens)
            self.frames[part] = summary.frames
        self._budget = f"{pack_tokens} tokens and {pack_frames} frames"
        self.too_long = np.flatnonzero(~fits)
        """Samples left out because no pack holds them."""
        if not fits.any():
            raise DataError(
                f"none of the {len(fits)} samples fits into a pack of {self._budget}",
                hint="Raise train.pack_tokens or train.pack_frames, or keep fewer visual tokens (merging.kept_ratio).",
            )
        held_out = self._held_out(np.flatnonzero(fits), validation_share)
        self.validation = np.sort(held_out)
        """Samples never trained on."""
        fits[held_out] = False
        self._trained = [
            np.flatnonzero(fits[start:end]) + start
            for start, end in zip(self.starts[:-1], self.starts[1:], strict=True)
        ]

    @property
    def samples(self) -> int:
        """Distinct samples that are trained on."""
        return sum(map(len, self._trained))

    @property
    def constant(self) -> bool:
        """Whether every epoch takes the same samples: no fractional weights."""
        return all(source.weight == int(source.weight) for source in self.sources)

    def epoch(self, epoch: int) -> np.ndarray:
        """Numbers of the samples that an epoch takes, by weight: 2 takes each twice, 0.5 the next half every time."""
        taken: list[np.ndarray] = []
        for index, (source, numbers) in enumerate(zip(self.sources, self._trained, strict=True)):
            taken += [numbers] * int(source.weight)
            share = source.weight - int(source.weight)
            if share and len(numbers):
                some = max(1, round(share * len(numbers)))
                shuffled = np.random.default_rng([self.seed, index, WEIGHT_STREAM]).permutation(numbers)
                taken.append(shuffled[(np.arange(some) + epoch * some) % len(numbers)])
        return taken[0] if len(taken) == 1 else np.concatenate(taken)

    def notes(self) -> list[str]:
        """What a person should know at the start: which samples do not go in as they are."""
        lines = []
        if self.cut:
            lines.append(f"{self.cut:,} samples are too long for a pack of {self._budget}: their last answer is cut")
        if len(self.too_long):
            line = f"{len(self.too_long):,} samples are left out, too long for a pack of {self._budget}"
            if self.media_too_large:
                line += (
                    f"; the images and videos of {self.media_too_large:,} alone are too much, up to"
                    f" {self.most_visual:,} tokens or {self.most_frames:,} frames, and a medium is never cut: raise"
                    " train.pack_tokens or train.pack_frames, or lower merging.kept_ratio"
                )
            lines.append(line)
        if len(self.validation):
            lines.append(f"{len(self.validation):,} samples are held out")
        return lines

    def rejections(self) -> Iterator[Rejection]:
        """Every sample in `too_long`."""
        for source, start, end in zip(self.sources, self.starts[:-1], self.starts[1:], strict=True):
            store = open_store(source.folder)
            numbers = self.too_long[(self.too_long >= start) & (self.too_long < end)]
            for some in np.array_split(numbers, max(1, len(numbers) // 1000)):
                for number, row in zip(some.tolist(), store.rows((some - start).tolist()), strict=True):
                    reason = f"too long for a pack of {self._budget}"
                    yield Rejection(number, row.id, None, reason)

    def _held_out(self, numbers: np.ndarray, share: float) -> np.ndarray:
        """`share` of the samples (one at least), chosen by a hash of their row: the same whatever the seed."""
        if share == 0.0:
            return numbers[:0]
        count = max(1, round(share * len(numbers)))
        if count == len(numbers):
            raise DataError(f"data.validation_share {share} of {len(numbers)} samples leaves none to train on")
        rows = numbers - self.starts[np.searchsorted(self.starts, numbers, side="right") - 1]
        return numbers[np.argsort(_mixed(rows), kind="stable")[:count]]


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """splitmix64's finalizer (Steele, Lea and Flood, OOPSLA 2014): neighbours become unrelated."""
    mixed = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
