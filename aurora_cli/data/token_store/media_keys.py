"""What of a row must lie on one side of a split: a few bits of the name of each of its media, and of its group.

At ten million media one in four hundred shares its 32 bits with another, which then only lies on the same side.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from zlib import crc32

import numpy as np
import pyarrow as pa

from aurora_cli.data.token_store.number_views import numbers_of

KEYS_TYPE = pa.list_(pa.uint32())


class MediaKeys(NamedTuple):
    """Of many rows, one behind the other."""

    offsets: np.ndarray
    """Where the keys of each row begin; behind the last, how many there are."""
    keys: np.ndarray
    """uint32."""


def keys_of(images: Iterable[str] | None, video: str | None, group: str | None) -> list[int]:
    """The keys of a row; none: a text alone.

    >>> keys_of(["a.jpg"], None, None) == keys_of(["a.jpg"], None, "a walk")[:1]
    True
    """
    names = [*(images or ()), *(() if video is None else (video,))]
    keys = [crc32(name.encode("utf-8", "surrogatepass")) for name in names]
    # Group names and paths are apart, however they are called.
    return keys if group is None else [*keys, crc32(b"\0group\0" + group.encode("utf-8", "surrogatepass"))]


def keys_column(rows: Iterable[Sequence[int]]) -> pa.Array:
    """The keys of many rows as a column of a summary."""
    return pa.array(list(rows), KEYS_TYPE)


def read_column(columns: Sequence[pa.Array]) -> MediaKeys:
    """The keys of rows whose column is in pieces."""
    lengths = [np.diff(numbers_of(column.offsets)) for column in columns]
    keys = [numbers_of(column.flatten()) for column in columns]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.concatenate(lengths), dtype=np.int64)])
    return MediaKeys(offsets, np.concatenate(keys))


def joined(pieces: Sequence[MediaKeys]) -> MediaKeys:
    """The keys of several stores' rows, one store behind the other."""
    lengths = np.concatenate([np.diff(piece.offsets) for piece in pieces])
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
    return MediaKeys(offsets, np.concatenate([piece.keys for piece in pieces]))
