"""Which samples are kept for validation: functions of what they show, and of the share, alone.

Samples that share an image, a video or a group, directly or by others between them, lie on one side. Of these sets
those are kept whose hashes are smallest, until they hold as many samples as were wanted, or nearest to it.
"""

from typing import Literal

import numpy as np

from aurora_cli.data.token_store.media_keys import MediaKeys
from aurora_cli.errors import DataError

ValidationBy = Literal["medium", "row"]
"""What keeps samples on one side: the media and groups that they share, or nothing."""

ROW_STREAM = np.uint64(1 << 40)
"""Keeps the numbers of rows without media apart from the 32 bits of media."""

LARGE = (0.1, 0.5)
"""Shares of all samples above which a set is kept only when all smaller ones are."""


def split_by_medium(rows: np.ndarray, keys: MediaKeys, share: float) -> np.ndarray:
    """Indices of the samples kept for validation, by the media keys of each; `rows` are their numbers in their stores.

    The same whatever the seed; those of a smaller share are among those of a larger one.

    Raises:
        DataError: none would be left to train on.
    """
    if share == 0.0:
        return np.zeros(0, np.int64)
    hashes = mixed(_sets(rows, keys))
    _, set_of, sizes = np.unique(hashes, return_inverse=True, return_counts=True)  # ascending by hash
    order = np.argsort(np.searchsorted(np.array(LARGE) * len(rows), sizes), kind="stable")
    held = np.cumsum(sizes[order])
    wanted = max(1, round(share * len(rows)))
    count = int(np.argmin(np.abs(held - wanted))) + 1
    if count == len(order):
        raise _none_left(share, len(rows), len(order))
    is_kept = np.zeros(len(order), bool)
    is_kept[order[:count]] = True
    return np.flatnonzero(is_kept[set_of])


def split_by_row(rows: np.ndarray, share: float) -> np.ndarray:
    """As `split_by_medium`, by each sample's row alone, as runs did that were begun before samples had media keys.

    Raises:
        DataError: none would be left to train on.
    """
    if share == 0.0:
        return np.zeros(0, np.int64)
    count = max(1, round(share * len(rows)))
    if count == len(rows):
        raise _none_left(share, len(rows), len(rows))
    return np.argsort(mixed(rows), kind="stable")[:count]


def mixed(numbers: np.ndarray) -> np.ndarray:
    """splitmix64's finalizer (Steele, Lea and Flood, OOPSLA 2014): neighbours become unrelated."""
    mixed = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _sets(rows: np.ndarray, keys: MediaKeys) -> np.ndarray:
    """uint64: of each sample the smallest key of its set; of one without media a number of its own, by its row."""
    counts = np.diff(keys.offsets)
    found = rows.astype(np.uint64) + ROW_STREAM
    with_media = np.flatnonzero(counts)
    if not len(with_media):
        return found
    if counts.max() == 1:
        found[with_media] = keys.keys
        return found
    values, key_of = np.unique(keys.keys, return_inverse=True)
    row_of = np.repeat(np.arange(len(with_media)), counts[with_media])
    begins = keys.offsets[:-1][with_media]
    least = np.arange(len(values))
    while True:  # each round carries the smallest key one sample further, and jumps over what is known by then
        of_row = np.minimum.reduceat(least[key_of], begins)
        new = least.copy()
        np.minimum.at(new, key_of, of_row[row_of])
        new = new[new]
        if np.array_equal(new, least):
            found[with_media] = values[of_row]
            return found
        least = new


def _none_left(share: float, samples: int, sets: int) -> DataError:
    why = "" if sets > 1 or samples == 1 else ": they all belong together, by their media or groups"
    return DataError(f"data.validation_share {share} of {samples} samples leaves none to train on{why}")
