"""Samples by number, with their frames decoded."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from aurora_cli.constants import IGNORE_INDEX, IMAGE_PLACEHOLDER
from aurora_cli.data.batches.collator import TokenCounts, TrainingSample
from aurora_cli.data.batches.corpus import WeightedStore
from aurora_cli.data.batches.row_media import media_of
from aurora_cli.data.features.cache import FeatureCache
from aurora_cli.data.media.decoders.sampling import EVENLY_IN_TIME, Sampling
from aurora_cli.data.media.reader import MediaReader
from aurora_cli.data.media.root import MediaRoot
from aurora_cli.data.token_store.store import Row, TokenStore, open_store
from aurora_cli.errors import DataError
from aurora_cli.io.data_uri import shown


@dataclass
class SampleReader:
    """Reads samples by number. Opens nothing before the first one, so it can be sent to a worker."""

    stores: tuple[WeightedStore, ...]
    starts: np.ndarray
    image_size: int
    mean: tuple[float, float, float]
    pack_tokens: int
    token_counts: TokenCounts
    sampling: Sampling = EVENLY_IN_TIME
    features: FeatureCache | None = None
    """Where features are looked for before a medium is decoded."""
    _opened: dict[int, TokenStore] = field(default_factory=dict, repr=False)
    _media: dict[Path | str, MediaReader] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": {}, "_media": {}}

    def pack(self, numbers: np.ndarray, token_counts: TokenCounts | None = None) -> list[TrainingSample]:
        """The samples of one pack, in order, their frames decoded; those of media whose features are kept are not.

        `token_counts`: at the pack's kept ratio; none: those of the reader.
        """
        counts = token_counts or self.token_counts
        stores = np.searchsorted(self.starts, numbers, side="right") - 1
        found: dict[int, _Draft] = {}
        for index in np.unique(stores).tolist():
            positions = np.flatnonzero(stores == index)
            row_numbers = (numbers[positions] - self.starts[index]).tolist()
            rows = self._store(index).rows(row_numbers)
            for position, row_number, row in zip(positions.tolist(), row_numbers, rows, strict=True):
                media = self._media_below(self._media_root(index, row_number))
                found[position] = self._draft(int(numbers[position]), row, media, counts)
        drafts = [found[position] for position in range(len(numbers))]
        if self.features is not None:
            drafts = self._with_features(drafts, self.features, counts)
        return [_with_frames(draft) for draft in drafts]

    def _store(self, index: int) -> TokenStore:
        if index not in self._opened:
            self._opened[index] = open_store(self.stores[index].folder)
        return self._opened[index]

    def _media_root(self, index: int, row_number: int) -> Path | str:
        store = self.stores[index]
        return store.media_root or store.workspace / self._store(index).media_root(row_number)

    def _media_below(self, root: Path | str) -> MediaReader:
        if root not in self._media:
            self._media[root] = MediaReader(MediaRoot(root), self.image_size, self.mean, self.sampling)
        return self._media[root]

    def _draft(self, number: int, row: Row, media: MediaReader, counts: TokenCounts) -> "_Draft":
        length = len(row.input_ids) - sum(row.media_lengths) + sum(counts.per_frame(row.media_lengths))
        kept = len(row.input_ids) - max(0, length - self.pack_tokens)
        if kept < len(row.input_ids) and not _can_be_cut(row, kept):
            reason = f"{length} tokens do not fit into a pack of {self.pack_tokens}, and no target token is left before"
            sample = TrainingSample(number, row.id, row.input_ids[:1], row.labels[:1], [], None, None, reason)
            return _Draft(sample, row, media)
        files = (len(row.image or ()) + (row.video is not None)) if row.media_lengths else 0
        sample = TrainingSample(
            number, row.id, row.input_ids[:kept], row.labels[:kept], row.media_lengths, None, media_files=files
        )
        return _Draft(sample, row, media)

    def _with_features(self, drafts: list["_Draft"], cache: FeatureCache, counts: TokenCounts) -> list["_Draft"]:
        """The drafts with the features of their media, as far as they are kept: one look for all of a pack."""
        keys = [_keys(draft) for draft in drafts]
        wanted = [key for of_draft in keys for key in of_draft if key is not None]
        there = dict(zip(wanted, cache.features(wanted), strict=True))
        done = []
        for draft, of_draft in zip(drafts, keys, strict=True):
            features = [None if key is None else there[key] for key in of_draft]
            for number, (length, one) in enumerate(zip(draft.sample.media_lengths, features, strict=True)):
                tokens = sum(counts.per_frame([length]))
                if one is not None and len(one) != tokens * cache.form.token_bytes:
                    features[number] = None
            done.append(draft._replace(keys=of_draft, features=features))
        return done


class _Draft(NamedTuple):
    """A sample without its frames yet."""

    sample: TrainingSample
    row: Row
    media: MediaReader
    keys: list[bytes | None] | None = None
    """Of each medium, where features are kept."""
    features: list[np.ndarray | None] | None = None


def _can_be_cut(row: Row, kept: int) -> bool:
    """Whether the first `kept` tokens hold every medium and a target token."""
    return bool((row.labels[1:kept] != IGNORE_INDEX).any()) and not (row.input_ids[kept:] == IMAGE_PLACEHOLDER).any()


def _keys(draft: _Draft) -> list[bytes | None]:
    """Of each medium; all are none where the row is damaged, which reading it says."""
    try:
        return [medium.key(draft.media) for medium in media_of(draft.row)] if draft.sample.media_lengths else []
    except DataError:
        return [None] * len(draft.sample.media_lengths)


def _with_frames(draft: _Draft) -> TrainingSample:
    sample, row, media = draft.sample, draft.row, draft.media
    if not sample.media_lengths:
        return sample
    keys = draft.keys or [None] * len(sample.media_lengths)
    features = draft.features or [None] * len(sample.media_lengths)
    frames, kept_keys = [media.blank(0)], []
    try:
        for medium, key, there in zip(media_of(row), keys, features, strict=True):
            if there is None:
                frames.append(medium.pixels(media))
                # Changed while it was read, it is neither what it was nor surely what it is now.
                key = key if key is None or key == medium.key(media) else None
            kept_keys.append(key)
        pixels = frames[1] if len(frames) == 2 else np.concatenate(frames)
        decoded = sum(length for length, there in zip(sample.media_lengths, features, strict=True) if there is None)
        if len(pixels) != decoded:
            raise DataError(f"{row.id}: {len(pixels)} frames, where its tokens have placeholders for {decoded}")
    except DataError as error:
        return sample._replace(
            frames=media.blank(sum(row.media_lengths)),
            media=row.video or str([*map(shown, row.image or ())]),
            failure=error.message,
        )
    if draft.keys is None:
        return sample._replace(frames=pixels)
    return sample._replace(frames=pixels, keys=tuple(kept_keys), features=tuple(features))
