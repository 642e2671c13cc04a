"""Keeps what the tower gives as a run goes on, and counts what was read instead."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
from torch import Tensor

from aurora_cli.console import Reporter
from aurora_cli.data.batches.collator import DTYPES, TokenCounts
from aurora_cli.data.features.cache import FeatureCache
from aurora_cli.data.features.writer import FeatureWriter
from aurora_cli.errors import HostError
from aurora_cli.training.callbacks.callback import Callback
from aurora_cli.training.engine.engine import Engine
from aurora_cli.training.step import MicroBatch

WAITING = 4
"""Micro-batches whose features wait to be written, at most: then training waits for the disk."""


class FeatureCounts(NamedTuple):
    """What became of the media of a run; one that is met again counts again."""

    read: int = 0
    """Media whose features were read."""
    encoded: int = 0
    """Media that went through the tower."""
    read_bytes: int = 0
    kept_bytes: int = 0


class FeatureKeeper(Callback):
    """Writes features in a thread beside the step that they are of. What goes wrong with the disk ends the keeping, and
    is said once; it never ends the run.
    """

    def __init__(self, cache: FeatureCache, token_counts: TokenCounts, room: int, reporter: Reporter) -> None:
        """`room`: bytes that this process may write."""
        self._cache = cache
        self._token_counts = token_counts
        self._writer: FeatureWriter | None = FeatureWriter(cache.folder, room)
        self._reporter = reporter
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="features")
        self._waiting: deque[Future[None]] = deque()
        self._known: set[bytes] = set()
        """Keys that this process wrote."""
        self._counts = FeatureCounts()
        self._kept_bytes = 0

    def on_step_begin(self, step: int) -> None:
        self._wait(0)  # what the next step looks for is there

    def on_validation_batch(self, step: int) -> None:
        self._wait(0)

    def on_encoded(self, batch: MicroBatch, encoded: Tensor | None) -> None:
        assert batch.media_lengths is not None
        assert batch.is_cached is not None
        assert batch.features is not None
        lengths = batch.media_lengths.tolist()
        first_frames = torch.tensor([0, *lengths[:-1]]).cumsum(0)
        is_cached = batch.is_cached[first_frames].tolist()
        before = self._counts
        self._counts = before._replace(
            read=before.read + sum(is_cached),
            encoded=before.encoded + len(lengths) - sum(is_cached),
            read_bytes=before.read_bytes + batch.features.nbytes,
        )
        if encoded is None or self._writer is None:
            return
        keys = batch.media_keys or [None] * len(lengths)
        new = [
            (key, sum(self._token_counts.per_frame([length])))
            for key, length, cached in zip(keys, lengths, is_cached, strict=True)
            if not cached
        ]
        self._wait(WAITING - 1)
        self._waiting.append(self._thread.submit(self._keep, new, encoded))

    def on_train_end(self, engine: Engine) -> None:
        self._wait(0)
        self._thread.shutdown()
        if self._writer is not None:
            try:
                self._writer.close()
            except (OSError, HostError) as error:  # its log is read as well
                self._reporter.warning(f"features: {error}")

    def counts(self, engine: Engine) -> FeatureCounts:
        """Over all ranks, which call it together."""
        own = torch.tensor(self._counts._replace(kept_bytes=self._kept_bytes), dtype=torch.float64)
        return FeatureCounts(*map(int, engine.sum_over_ranks(own.to(engine.device)).tolist()))

    def _wait(self, left: int) -> None:
        while len(self._waiting) > left:
            self._waiting.popleft().result()

    def _keep(self, new: list[tuple[bytes | None, int]], encoded: Tensor) -> None:
        """In the thread: write the features of each medium, of so many tokens, that are not there yet."""
        rows: Any = encoded.to("cpu", DTYPES[self._cache.form.precision]).contiguous().view(torch.uint8).numpy()
        wanted: dict[bytes, memoryview] = {}
        first = 0
        for key, tokens in new:
            if key is not None and key not in self._known:
                wanted[key] = memoryview(rows[first : first + tokens]).cast("B")
            first += tokens
        there = self._cache.features([*wanted])  # another process may have met it, too
        for (key, features), one in zip(wanted.items(), there, strict=True):
            if one is None and self._writer is not None:
                self._write(self._writer, key, features)

    def _write(self, writer: FeatureWriter, key: bytes, features: memoryview) -> None:
        if not writer.has_room(features.nbytes):
            self._give_up(
                f"{self._cache.folder.parent} has reached its limit (train.cache_features_gb, or else half of its disk)"
            )
            return
        try:
            writer.append(key, features)
        except (OSError, HostError) as error:
            self._give_up(f"{self._cache.folder}: cannot be written: {getattr(error, 'strerror', None) or error}")
            return
        self._known.add(key)
        self._kept_bytes += features.nbytes

    def _give_up(self, reason: str) -> None:
        self._reporter.warning(f"features: {reason}; media that are not there go through the tower every time")
        writer, self._writer = self._writer, None
        assert writer is not None
        try:
            writer.close()
        except (OSError, HostError):  # its log is read as well
            return
