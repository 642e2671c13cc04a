"""Samples by number, with their frames decoded."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from aurora_cli.constants import IGNORE_INDEX, IMAGE_PLACEHOLDER
from aurora_cli.data.batches.collator import Sample, TokenCounts
from aurora_cli.data.batches.corpus import Source
from aurora_cli.data.media.reader import MediaReader
from aurora_cli.data.media.root import MediaRoot
from aurora_cli.data.media.video_decoder import EVENLY_IN_TIME, Sampling
from aurora_cli.data.token_store.store import Row, TokenStore, open_store
from aurora_cli.errors import DataError


@dataclass
class SampleReader:
    """Reads samples by number. Opens nothing before the first one, so it can be sent to a worker."""

    sources: list[Source]
    starts: np.ndarray
    image_size: int
    mean: tuple[float, float, float]
    pack_tokens: int
    token_counts: TokenCounts
    sampling: Sampling = EVENLY_IN_TIME
    _stores: dict[int, TokenStore] = field(default_factory=dict, repr=False)
    _media: dict[Path, MediaReader] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_stores": {}, "_media": {}}

    def pack(self, numbers: np.ndarray) -> list[Sample]:
        """The samples of one pack, in order, their frames decoded."""
        places = np.searchsorted(self.starts, numbers, side="right") - 1
        samples: dict[int, Sample] = {}
        for place in np.unique(places).tolist():
            store = self._store(place)
            chosen = np.flatnonzero(places == place)
            row_numbers = (numbers[chosen] - self.starts[place]).tolist()
            for index, row_number, row in zip(chosen.tolist(), row_numbers, store.rows(row_numbers), strict=True):
                media = self._media_below(self._media_root(place, row_number))
                samples[index] = self._sample(int(numbers[index]), row, media)
        return [samples[index] for index in range(len(numbers))]

    def _store(self, place: int) -> TokenStore:
        if place not in self._stores:
            self._stores[place] = open_store(self.sources[place].folder)
        return self._stores[place]

    def _media_root(self, place: int, row_number: int) -> Path:
        source = self.sources[place]
        return source.media_root or source.workspace / self._store(place).media_root(row_number)

    def _media_below(self, root: Path) -> MediaReader:
        if root not in self._media:
            self._media[root] = MediaReader(MediaRoot(root), self.image_size, self.mean, self.sampling)
        return self._media[root]

    def _sample(self, number: int, row: Row, media: MediaReader) -> Sample:
        length = len(row.input_ids) - sum(row.media_lengths) + sum(self.token_counts.per_frame(row.media_lengths))
        kept = len(row.input_ids) - max(0, length - self.pack_tokens)
        if kept < len(row.input_ids) and not _can_be_cut(row, kept):
            reason = f"{length} tokens do not fit into a pack of {self.pack_tokens}, and nothing taught is left before"
            return Sample(number, row.id, row.input_ids[:1], row.labels[:1], [], None, None, reason)
        sample = Sample(number, row.id, row.input_ids[:kept], row.labels[:kept], row.media_lengths, None)
        if not row.media_lengths:
            return sample
        sample = sample._replace(media_files=len(row.image or ()) + (row.video is not None))
        try:
            return sample._replace(frames=_frames(row, media))
        except DataError as error:
            return sample._replace(
                frames=media.blank(sum(row.media_lengths)), media=row.video or str(row.image), failure=error.message
            )


def _can_be_cut(row: Row, kept: int) -> bool:
    """Whether the first `kept` tokens hold every medium and something that is taught."""
    return bool((row.labels[1:kept] != IGNORE_INDEX).any()) and not (row.input_ids[kept:] == IMAGE_PLACEHOLDER).any()


def _frames(row: Row, media: MediaReader) -> np.ndarray:
    frames = [media.images(row.image)] if row.image else []
    if row.video is not None:
        frames.append(media.video(row.video, row.media_lengths[-1]))
    found = sum(map(len, frames))
    if found != sum(row.media_lengths):
        raise DataError(f"{row.id}: {found} frames, where its tokens speak of {sum(row.media_lengths)}")
    return frames[0] if len(frames) == 1 else np.concatenate(frames)
