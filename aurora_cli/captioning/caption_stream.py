"""Media that were read in, captions out: each is begun as soon as there is room, and all come in their order.

Shapes: F frames, S side of the tower's square.
"""

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple

import torch

from aurora_cli.captioning.decoding import DecodingBatch, NewRow
from aurora_cli.captioning.inputs import CaptionInput
from aurora_cli.captioning.result import Caption, CaptionedBatch, Uncaptioned


class Read(NamedTuple):
    """A medium with its frames and its prompt's ids."""

    medium: CaptionInput
    frames_F3SS: torch.Tensor
    prompt: list[int]
    seconds: float
    """That reading took."""


class Writing:
    """A caption while it is written."""

    def __init__(self, read: Read, ids: Sequence[int] = (), decode_s: float = 0.0) -> None:
        self.read = read
        self.ids = [*ids]
        self.prefill_s = 0.0
        self.decode_s = decode_s

    @property
    def seconds(self) -> float:
        """All that it took."""
        return self.read.seconds + self.prefill_s + self.decode_s


class CaptionStream:
    """Captions media of an iterator, up to `size` of them at a time."""

    def __init__(
        self,
        batch: DecodingBatch,
        size: int,
        row_of: Callable[[int, Read], NewRow],
        caption_of: Callable[[Writing], Caption],
        on_id: Callable[[int], None] | None = None,
    ) -> None:
        """`on_id` is given each new id, whosever it is: for one medium alone."""
        self._batch, self._size = batch, size
        self._row_of, self._caption_of, self._on_id = row_of, caption_of, on_id
        self._writing: dict[Hashable, Writing] = {}
        self._results: dict[Hashable, Caption | Uncaptioned] = {}
        """By the number of each, as it was taken."""
        self._taken = self._given = 0

    def run(self, reads: Iterator[Read | Uncaptioned]) -> Iterator[CaptionedBatch]:
        """Whatever is next in order, as soon as it is there."""
        is_over = False
        while not is_over or self._writing:
            if not is_over and self._has_room():
                is_over = self._take(reads)
            if self._writing:
                self._step()
            ready = self._in_order()
            if ready.captions or ready.uncaptioned:
                yield ready

    def _has_room(self) -> bool:
        """Not for each that ends: while prompts are read, the others wait."""
        running = len(self._batch)
        if not self._batch.rows_may_join:
            return running == 0
        return self._size - running >= max(1, self._size // 4)

    def _take(self, reads: Iterator[Read | Uncaptioned]) -> bool:
        """Admit what there is room for, half of the batch at most: the thread that reads ahead goes on meanwhile."""
        room = self._size - len(self._batch)
        most = min(room, -(-self._size // 2)) if self._batch.rows_may_join else room
        new: list[NewRow] = []
        is_over = False
        while len(new) < most:
            read = next(reads, None)
            if read is None:
                is_over = True
                break
            if isinstance(read, Uncaptioned):
                self._results[self._taken] = read
            else:
                self._writing[self._taken] = Writing(read)
                new.append(self._row_of(self._taken, read))
            self._taken += 1
        if new:
            began = time.monotonic()
            self._batch.admit(new)
            share_s = (time.monotonic() - began) / len(new)  # of what was done for all of them
            for row in new:
                self._writing[row.key].prefill_s += share_s
        return is_over

    def _step(self) -> None:
        began = time.monotonic()
        written = self._batch.step()
        share_s = (time.monotonic() - began) / max(1, len(written))
        for key, token, ended in written:
            writing = self._writing[key]
            writing.decode_s += share_s
            if token is not None:
                writing.ids.append(token)
                if self._on_id is not None:
                    self._on_id(token)
            if ended is not None:
                self._results[key] = self._caption_of(writing)
                del self._writing[key]

    def _in_order(self) -> CaptionedBatch:
        """The results that no earlier one is missing before."""
        batch = CaptionedBatch([], [])
        while (result := self._results.pop(self._given, None)) is not None:
            self._given += 1
            if isinstance(result, Caption):
                batch.captions.append(result)
            else:
                batch.uncaptioned.append(result)
        return batch
