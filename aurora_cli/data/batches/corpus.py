"""The samples of merged folders, as a table of a few integers a sample: which there are, and how long each becomes.

The training process keeps it. Rows and media are read elsewhere, by `reader.SampleReader` in a loader's worker.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aurora_cli.data.batches.collator import TokenCounts
from aurora_cli.data.batches.mixture import RatioWheels
from aurora_cli.data.batches.selection import (
    PackBudget,
    TooLong,
    chunks,
    epoch_samples,
    epoch_visits,
    fit,
    numbers_where,
    size_type,
)
from aurora_cli.data.batches.validation import ValidationBy, split_by_medium, split_by_row
from aurora_cli.data.token_store.media_keys import MediaKeys, joined
from aurora_cli.data.token_store.store import Summary, open_store
from aurora_cli.errors import DataError
from aurora_cli.runs.lines import Rejection


@dataclass(frozen=True)
class WeightedStore:
    """One merged folder, and how often an epoch takes it."""

    folder: Path
    workspace: Path
    """Where the media roots that the folder's manifest names start from."""
    weight: float = 1.0
    media_root: Path | str | None = None
    """Looked into instead of the manifest's."""


class TooMuch(NamedTuple):
    """Counts of the samples that do not go into packs as they are."""

    cut: int
    """Samples whose last answer is cut at the end."""
    media: int
    """Samples left out because no pack holds their images and videos, which are never cut."""
    most_visual: int
    """Visual tokens of the largest of these."""
    most_frames: int


class Mixed(NamedTuple):
    """What a corpus knows besides where a run trains at several kept ratios, ascending."""

    token_counts: tuple[TokenCounts, ...]
    """At each."""
    videos: np.ndarray
    """As `frames`: of these, those that are the first of a video."""
    fitting: np.ndarray
    """uint8: at how many of the ratios, from the smallest on, a pack holds the sample; one that is cut, at one."""
    shares: tuple[float, ...]
    """Of all samples, those that an epoch takes at each ratio, if all fit."""
    wheels: RatioWheels


@dataclass(frozen=True, eq=False)
class Corpus:
    """All samples of a run, numbered through its stores."""

    stores: tuple[WeightedStore, ...]
    """Those that are trained on, then those that are only measured on."""
    starts: np.ndarray
    """Number of the first sample of each store; behind the last, how many there are."""
    lengths: np.ndarray
    """uint16 or int32: language-model tokens of each sample, at most a pack's; at the smallest kept ratio."""
    frames: np.ndarray
    """uint16 or int32: frames of each sample, at most one more than a pack's."""
    trained: tuple[np.ndarray, ...]
    """The samples that are trained on, of each store that is."""
    validation: np.ndarray
    """Samples never trained on, ascending."""
    too_long: np.ndarray
    """Samples left out because no pack holds them, ascending."""
    too_much: TooMuch
    budget: PackBudget
    seed: int
    mixed: "Mixed | None" = None
    """None: the run has one kept ratio."""

    @classmethod
    def from_stores(
        cls,
        stores: Sequence[WeightedStore],
        *,
        validation_stores: Sequence[WeightedStore] = (),
        token_counts: TokenCounts,
        larger: Sequence[TokenCounts] = (),
        shares: Sequence[float] = (1.0,),
        budget: PackBudget,
        too_long: TooLong,
        validation_share: float = 0.0,
        validation_by: ValidationBy = "medium",
        seed: int = 0,
    ) -> "Corpus":
        """The table of the stores' summaries; no row is read. In a mixture `token_counts` are those at the smallest
        kept ratio, `larger` those at the others, ascending, and `shares` those of all of them.

        Raises:
            DataError: a store is damaged, no sample fits into a pack, or none is left to train on.
        """
        number = len(stores)
        stores = (*stores, *validation_stores)
        opened = [open_store(store.folder) for store in stores]
        starts = np.cumsum([0, *(sum(len(piece.length) for piece in store.summaries()) for store in opened)])
        lengths = np.empty(starts[-1], size_type(budget.tokens))
        frames = np.empty(starts[-1], size_type(budget.frames + 1))
        fits = np.empty(starts[-1], bool)
        in_mixture = starts[-1] if larger else 0
        videos, ratios_fitting = np.zeros(in_mixture, frames.dtype), np.ones(in_mixture, np.uint8)
        cut = media = most_visual = most_frames = 0
        stop = 0
        for summary in chain.from_iterable(store.summaries() for store in opened):
            part = slice(stop, stop := stop + len(summary.length))
            visual = token_counts.in_all(summary.frames, summary.videos)
            one = fit(summary.length - summary.frames + visual, visual, summary.frames, budget, too_long)
            lengths[part], fits[part] = one.lengths, one.fits
            frames[part] = np.minimum(summary.frames, budget.frames + 1)
            for counts in larger:
                more = counts.in_all(summary.frames, summary.videos) - visual
                ratios_fitting[part] += ~one.is_cut & (one.lengths + more <= budget.tokens)
                videos[part] = np.minimum(summary.videos, budget.frames + 1)
            cut += int(one.is_cut.sum())
            media += int((~one.media_fit).sum())
            most_visual = max(most_visual, int(visual[~one.media_fit].max(initial=0)))
            most_frames = max(most_frames, int(summary.frames[~one.media_fit].max(initial=0)))
        to_train = fits[: starts[number]]
        if not to_train.any():
            raise DataError(
                f"none of the {len(to_train)} samples fits into a pack of {budget}",
                hint="Raise train.pack_tokens or train.pack_frames, or keep fewer visual tokens (merging.kept_ratio).",
            )
        left_out = np.flatnonzero(~fits)
        of_share = np.zeros(0, np.int64)
        if validation_share:
            fitting = numbers_where(to_train)
            rows = fitting.copy()
            for chunk in chunks(len(rows)):
                rows[chunk] -= starts[np.searchsorted(starts, rows[chunk], side="right") - 1].astype(rows.dtype)
            if validation_by == "row":
                of_share = np.sort(fitting[split_by_row(rows, validation_share)])
            else:
                of_share = fitting[split_by_medium(rows, _media_keys(stores[:number], to_train), validation_share)]
            to_train[of_share] = False  # of `fits`, too, which it is a part of
        trained = tuple(numbers_where(fits, slice(a, b)) for a, b in pairwise(starts[: number + 1]))
        mixed = None
        if larger:
            wheels = RatioWheels(shares, np.concatenate(trained), ratios_fitting, seed)
            mixed = Mixed((token_counts, *larger), videos, ratios_fitting, tuple(shares), wheels)
        return cls(
            stores=stores,
            starts=starts,
            lengths=lengths,
            frames=frames,
            trained=trained,
            validation=np.concatenate([of_share, numbers_where(fits, slice(starts[number], None))]),
            too_long=left_out,
            too_much=TooMuch(cut, media, most_visual, most_frames),
            budget=budget,
            seed=seed,
            mixed=mixed,
        )

    @property
    def samples(self) -> int:
        """Distinct samples that are trained on."""
        return sum(map(len, self.trained))

    @property
    def constant(self) -> bool:
        """Whether every epoch takes the same samples, at the same ratio: no fractional weights, and no mixture."""
        return self.mixed is None and all(store.weight == int(store.weight) for store in self.stores)

    def epoch(self, epoch: int) -> np.ndarray:
        """Numbers of the samples that an epoch takes, as `epoch_samples`."""
        return epoch_samples(self.trained, self._weights, seed=self.seed, epoch=epoch)

    def epoch_at(self, epoch: int, ratio: int) -> np.ndarray:
        """Those of them that it takes at this of the kept ratios."""
        if self.mixed is None:
            return self.epoch(epoch)
        visits = partial(epoch_visits, self.trained, self._weights, seed=self.seed, epoch=epoch)
        return np.concatenate([numbers[ratios == ratio] for numbers, ratios in self.mixed.wheels.epoch(epoch, visits)])

    def lengths_at(self, numbers: np.ndarray, ratio: int) -> np.ndarray:
        """Language-model tokens of these samples at this of the kept ratios, which they fit into a pack at."""
        if self.mixed is None or ratio == 0:
            return self.lengths[numbers]
        lengths = np.empty(len(numbers), np.int32)
        for chunk in chunks(len(numbers)):
            some = numbers[chunk]
            frames, videos = self.frames[some].astype(np.int32), self.mixed.videos[some].astype(np.int32)
            smallest, here = (self.mixed.token_counts[index].in_all(frames, videos) for index in (0, ratio))
            lengths[chunk] = self.lengths[some] + (here - smallest)
        return lengths

    def longest(self, numbers: np.ndarray) -> np.ndarray:
        """Language-model tokens of these samples at the largest kept ratio that each is taken at."""
        lengths = self.lengths[numbers]
        for ratio in range(1, 1 if self.mixed is None else len(self.mixed.shares)):
            assert self.mixed is not None
            fits = self.mixed.fitting[numbers] > ratio
            lengths[fits] = self.lengths_at(numbers[fits], ratio)
        return lengths

    def chances(self, numbers: np.ndarray, ratio: int) -> np.ndarray:
        """How many of the visits of each of these samples are at this of the kept ratios: 0 to 1."""
        if self.mixed is None:
            return np.ones(len(numbers))
        fitting, sums = self.mixed.fitting[numbers], np.cumsum(self.mixed.shares)
        return np.where(fitting > ratio, self.mixed.shares[ratio] / sums[fitting - 1], 0.0)

    def validation_at(self, ratio: int) -> np.ndarray:
        """The validation samples that a pack holds at this of the kept ratios."""
        if self.mixed is None:
            return self.validation
        return self.validation[self.mixed.fitting[self.validation] > ratio]

    def too_long_at(self, ratio: int) -> int:
        """How many samples are trained on, and not at this of the kept ratios."""
        if self.mixed is None:
            return 0
        return sum(int((self.mixed.fitting[numbers] <= ratio).sum()) for numbers in self.trained)

    def summary_of(self, numbers: np.ndarray) -> Summary:
        """What the stores' summaries say of these samples, in their order. As much is held as there are of them."""
        order = np.argsort(numbers, kind="stable")
        ascending, found = numbers[order], [np.empty(len(numbers), np.int32) for _ in Summary._fields]
        for start, summary in self.summaries():
            first, last = np.searchsorted(ascending, (start, start + len(summary.length)))
            for values, column in zip(found, summary, strict=True):
                values[order[first:last]] = column[ascending[first:last] - start]
        return Summary(*found)

    def summaries(self) -> Iterator[tuple[int, Summary]]:
        """Of all samples a piece at a time, each with the number of its first."""
        start = 0
        for summary in chain.from_iterable(open_store(store.folder).summaries() for store in self.stores):
            yield start, summary
            start += len(summary.length)

    @property
    def _weights(self) -> list[float]:
        return [store.weight for store in self.stores[: len(self.trained)]]

    def notes(self) -> list[str]:
        """What a person should know at the start: which samples do not go in as they are."""
        lines = []
        cut, media, most_visual, most_frames = self.too_much
        if cut:
            lines.append(f"{cut:,} samples are too long for a pack of {self.budget}: their last answer is cut")
        if len(self.too_long):
            line = f"{len(self.too_long):,} samples are left out, too long for a pack of {self.budget}"
            if media:
                line += (
                    f"; the images and videos of {media:,} alone are too much, up to {most_visual:,} tokens or"
                    f" {most_frames:,} frames, and a medium is never cut: raise train.pack_tokens or train.pack_frames,"
                    " or lower merging.kept_ratio"
                )
            lines.append(line)
        if len(self.validation):
            lines.append(f"{len(self.validation):,} samples are kept for validation")
        return lines

    def rejections(self, *, validation: bool = False) -> Iterator[Rejection]:
        """A line for `rejected.jsonl` for every sample in `too_long`, of the stores that are trained on, or measured on
        alone."""
        some = slice(len(self.trained), None) if validation else slice(len(self.trained))
        for store, start, end in zip(self.stores[some], self.starts[:-1][some], self.starts[1:][some], strict=True):
            rows = open_store(store.folder)
            numbers = self.too_long[(self.too_long >= start) & (self.too_long < end)]
            for some in np.array_split(numbers, max(1, len(numbers) // 1000)):
                for number, row in zip(some.tolist(), rows.rows((some - start).tolist()), strict=True):
                    yield Rejection(number, row.id, None, f"too long for a pack of {self.budget}")


def _media_keys(stores: Sequence[WeightedStore], wanted: np.ndarray) -> MediaKeys:
    """Of the wanted samples, in order."""
    found = joined([open_store(store.folder).media_keys() for store in stores])
    if wanted.all():
        return found
    counts = np.diff(found.offsets)
    kept = found.keys[np.repeat(wanted, counts)]
    offsets = np.zeros(np.count_nonzero(wanted) + 1, found.offsets.dtype)
    np.cumsum(counts[wanted], out=offsets[1:])
    return MediaKeys(offsets, kept)
