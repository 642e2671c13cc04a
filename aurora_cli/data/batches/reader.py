"""Samples by number, with their frames decoded."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aurora_cli.constants import IGNORE_INDEX, IMAGE_PLACEHOLDER
from aurora_cli.data.batches.collator import TokenCounts, TrainingSample
from aurora_cli.data.batches.corpus import WeightedStore
from aurora_cli.data.media.reader import MediaReader
from aurora_cli.data.media.root import MediaRoot
from aurora_cli.data.media.video_decoder import EVENLY_IN_TIME, Sampling
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
    _opened: dict[int, TokenStore] = field(default_factory=dict, repr=False)
    _media: dict[Path, MediaReader] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_opened": {}, "_media": {}}

    def pack(self, numbers: np.ndarray) -> list[TrainingSample]:
        """The samples of one pack, in order, their frames decoded."""
        stores = np.searchsorted(self.starts, numbers, side="right") - 1
        samples: dict[int, TrainingSample] = {}
        for index in np.unique(stores).tolist():
            positions = np.flatnonzero(stores == index)
            row_numbers = (numbers[positions] - self.starts[index]).tolist()
            rows = self._store(index).rows(row_numbers)
            for position, row_number, row in zip(positions.tolist(), row_numbers, rows, strict=True):
                media = self._media_below(self._media_root(index, row_number))
                samples[position] = self._sample(int(numbers[position]), row, media)
        return [samples[position] for position in range(len(numbers))]

    def _store(self, index: int) -> TokenStore:
        if index not in self._opened:
            self._opened[index] = open_store(self.stores[index].folder)
        return self._opened[index]

    def _media_root(self, index: int, row_number: int) -> Path:
        store = self.stores[index]
        return store.media_root or store.workspace / self._store(index).media_root(row_number)

    def _media_below(self, root: Path) -> MediaReader:
        if root not in self._media:
            self._media[root] = MediaReader(MediaRoot(root), self.image_size, self.mean, self.sampling)
        return self._media[root]

    def _sample(self, number: int, row: Row, media: MediaReader) -> TrainingSample:
        length = len(row.input_ids) - sum(row.media_lengths) + sum(self.token_counts.per_frame(row.media_lengths))
        kept = len(row.input_ids) - max(0, length - self.pack_tokens)
        if kept < len(row.input_ids) and not _can_be_cut(row, kept):
            reason = f"{length} tokens do not fit into a pack of {self.pack_tokens}, and no target token is left before"
            return TrainingSample(number, row.id, row.input_ids[:1], row.labels[:1], [], None, None, reason)
        sample = TrainingSample(number, row.id, row.input_ids[:kept], row.labels[:kept], row.media_lengths, None)
        if not row.media_lengths:
            return sample
        sample = sample._replace(media_files=len(row.image or ()) + (row.video is not None))
        try:
            return sample._replace(frames=_frames(row, media))
        except DataError as error:
            return sample._replace(
                frames=media.blank(sum(row.media_lengths)),
                media=row.video or str([*map(shown, row.image or ())]),
                failure=error.message,
            )


def _can_be_cut(row: Row, kept: int) -> bool:
    """Whether the first `kept` tokens hold every medium and a target token."""
    return bool((row.labels[1:kept] != IGNORE_INDEX).any()) and not (row.input_ids[kept:] == IMAGE_PLACEHOLDER).any()


def _frames(row: Row, media: MediaReader) -> np.ndarray:
    frames = [media.images(row.image)] if row.image else []
    if row.video is not None:
        frames.append(media.video(row.video, row.media_lengths[-1], row.span))
    found = sum(map(len, frames))
    if found != sum(row.media_lengths):
        raise DataError(f"{row.id}: {found} frames, where its tokens have placeholders for {sum(row.media_lengths)}")
    return frames[0] if len(frames) == 1 else np.concatenate(frames)
