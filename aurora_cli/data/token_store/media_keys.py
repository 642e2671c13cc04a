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
    """Where the keys of each row begin; behind the last, how many there are. int32 where they suffice."""
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
    return joined([MediaKeys(_from_0(numbers_of(each.offsets)), numbers_of(each.flatten())) for each in columns])


def _from_0(offsets: np.ndarray) -> np.ndarray:
    """A piece of a column may begin in its middle; one that does not stays a view of its file."""
    return offsets - offsets[0] if offsets[0] else offsets


def joined(pieces: Sequence[MediaKeys]) -> MediaKeys:
    """The keys of several stores' rows, one store behind the other."""
    if len(pieces) == 1:
        return pieces[0]
    rows, count = sum(len(piece.offsets) - 1 for piece in pieces), sum(len(piece.keys) for piece in pieces)
    offsets = np.zeros(rows + 1, np.int32 if count < 1 << 31 else np.int64)
    row = before = 0
    for piece in pieces:
        own = offsets[row + 1 : (row := row + len(piece.offsets) - 1) + 1]
        np.add(piece.offsets[1:], before, out=own, casting="same_kind")
        before += len(piece.keys)
    return MediaKeys(offsets, np.concatenate([piece.keys for piece in pieces]))
