"""Keys and values of rows that are decoded together, where rows join and leave between any two steps.

All rows end in the same column, so that one step writes one column; a row's first token lies in the column where the
row began. Columns are laid out ahead, in blocks: a step copies no keys but its own.

Shapes: B rows, H heads of keys, T columns, D channels of a head.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, CacheLayerMixin

BLOCK = 64
"""Columns that are laid out at a time, at least."""

GROWS = 1.5
"""Times as many columns, or rows, as are needed now."""


class Columns:
    """Which part of every layer's storage is in use. All layers share it."""

    def __init__(self) -> None:
        self.rows = 0
        self.joining = 0
        """Rows behind those, whose prompts are being read."""
        self.begin = 0
        """Of the longest row."""
        self.end = 0
        self.read_from = 0
        """Where that begins which is being read."""
        self.laid_rows = self.laid_columns = 0

    @property
    def used(self) -> tuple[slice, slice]:
        return slice(0, self.rows), slice(self.begin, self.end)

    @property
    def width(self) -> int:
        return self.end - self.begin


class JoinedLayer(CacheLayerMixin):
    """One layer's keys and values, (rows laid out, H, columns laid out, D) each."""

    is_sliding = False

    def __init__(self, columns: Columns) -> None:
        super().__init__()
        self.columns = columns
        self.stored: list[Tensor] = []
        """Keys and values; nothing before the first are written."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        self.stored = [self._storage(key_states), self._storage(value_states)]
        self.keys, self.values = self.stored
        self.is_initialized = True

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """To rows that join their own come back, for they see nothing else; in a step all that the rows have."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        at, (keys, values) = self.columns, self.stored
        rows = slice(at.rows, at.rows + at.joining) if at.joining else slice(0, at.rows)
        keys[rows, :, at.read_from : at.end] = key_states
        values[rows, :, at.read_from : at.end] = value_states
        if at.joining:
            return key_states, value_states
        return keys[rows, :, at.begin : at.end], values[rows, :, at.begin : at.end]

    def write_prompt(self, row: int, keys_HTD: Tensor, values_HTD: Tensor) -> None:
        """All tokens of one of the rows that join."""
        if not self.is_initialized:
            self.lazy_initialization(keys_HTD[None], values_HTD[None])
        at, begin = self.columns, self.columns.end - keys_HTD.shape[1]
        row += at.rows
        self.blank(slice(row, row + 1), slice(at.read_from, begin))
        for stored, new in zip(self.stored, (keys_HTD, values_HTD), strict=True):
            stored[row, :, begin : at.end] = new

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return (query_length if self.columns.joining else self.columns.width), 0

    def get_seq_length(self) -> int:
        return 0 if self.columns.joining else self.columns.read_from - self.columns.begin

    def get_max_length(self) -> int:
        return -1

    def move(self, end: int) -> None:
        """What is used now ends in column `end`, in new storage where more is laid out than there was."""
        at = self.columns
        row, column = at.used
        for index, old in enumerate(self.stored):
            is_same = (at.laid_rows, at.laid_columns) == (old.shape[0], old.shape[2])
            held = old[row, :, column].clone() if is_same else old[row, :, column]
            new = old if is_same else self._storage(old)
            new[row, :, end - held.shape[2] : end] = held
            self.stored[index] = new
        self.keys, self.values = self.stored or (None, None)

    def copy_row(self, source: int, target: int) -> None:
        for each in self.stored:
            each[target, :, self.columns.used[1]] = each[source, :, self.columns.used[1]]

    def blank(self, rows: slice, columns: slice) -> None:
        """What rows never wrote counts nothing in attention, unless it is NaN."""
        for each in self.stored:
            each[rows, :, columns] = 0

    def release(self) -> None:
        self.stored, self.keys, self.values, self.is_initialized = [], None, None, False

    def _storage(self, like: Tensor) -> Tensor:
        return like.new_empty(self.columns.laid_rows, like.shape[1], self.columns.laid_columns, like.shape[3])


class JoinedCache(Cache):
    """A cache, as transformers' models take it, whose rows join and leave."""

    def __init__(self, num_layers: int) -> None:
        self.columns = Columns()
        self.joined = [JoinedLayer(self.columns) for _ in range(num_layers)]
        super().__init__(layers=[*self.joined])
        self.lengths: list[int] = []
        """Tokens of each row."""

    def begin_joining(self, rows: int, width: int) -> None:
        """What is read until `end_joining` are prompts of so many rows, padded in front to `width` tokens."""
        at, widest = self.columns, max(width, self.columns.width)
        if at.rows + rows > at.laid_rows or widest > at.end:
            self._move(at.rows + rows, widest)
        began, at.begin = at.begin, at.end - widest
        joining = slice(at.rows, at.rows + rows)
        for layer in self.joined:
            layer.blank(slice(0, at.rows), slice(at.begin, began))
            layer.blank(joining, slice(at.begin, at.end - width))
        at.joining, at.read_from = rows, at.end - width

    def end_joining(self, lengths: Sequence[int]) -> None:
        """The rows are read, and have so many tokens each; none: reading failed, and none joined."""
        self.columns.joining = 0
        self.columns.rows += len(lengths)
        self._now([*self.lengths, *lengths])

    def begin_step(self) -> None:
        """What is read next is one token of every row."""
        at = self.columns
        if at.end == at.laid_columns:
            self._move(at.rows, at.width)
        at.read_from, at.end = at.end, at.end + 1
        self.lengths = [length + 1 for length in self.lengths]

    def mask(self) -> Tensor | None:
        """(B, 1, 1, T) bool: what each row sees in a step; none where all rows are equally long."""
        width = self.columns.width
        if min(self.lengths) == width:
            return None
        starts_B1 = width - torch.tensor(self.lengths)[:, None]
        return (torch.arange(width) >= starts_B1)[:, None, None]

    def keep(self, kept: Sequence[int]) -> None:
        """The other rows leave; these stay, in this order. No row may go to where one lies that is still to go."""
        for target, source in enumerate(kept):
            if target != source:
                for layer in self.joined:
                    layer.copy_row(source, target)
        self.columns.rows = len(kept)
        self._now([self.lengths[row] for row in kept])

    def _now(self, lengths: list[int]) -> None:
        at, self.lengths = self.columns, lengths
        at.begin = at.end - max(lengths, default=0)
        if not lengths:
            at.end = at.begin = at.laid_rows = at.laid_columns = 0
            for layer in self.joined:
                layer.release()

    def _move(self, rows: int, end: int) -> None:
        """Lay out that many rows at least, and columns behind `end`, where what is used then ends."""
        at = self.columns
        if rows > at.laid_rows:
            at.laid_rows = max(rows, int(at.laid_rows * GROWS))
        if end * GROWS > at.laid_columns:
            at.laid_columns = BLOCK * (1 + int(end * GROWS) // BLOCK)
        for layer in self.joined:
            layer.move(end)
        at.begin, at.end = end - at.width, end
