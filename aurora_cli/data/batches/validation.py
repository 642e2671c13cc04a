"""Which samples are kept for validation: functions of what they show, and of the share, alone.

Samples that share an image, a video or a group, directly or by others between them, lie on one side. Of these sets
those are kept whose hashes are smallest, until they hold as many samples as were wanted, or nearest to it.
"""

from typing import Literal

import numpy as np

from aurora_cli.data.batches.selection import chunks, numbers_where
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
    hashes = _sets(rows, keys)
    for chunk in chunks(len(hashes)):
        hashes[chunk] = mixed(hashes[chunk])
    ordered = np.sort(hashes)
    begins = numbers_where(np.concatenate([[True], ordered[1:] != ordered[:-1]]))  # of the sets, ascending by hash
    sizes = np.diff(begins, append=begins.dtype.type(len(rows)))
    tier = np.empty(len(sizes), np.uint8)
    for chunk in chunks(len(sizes)):
        tier[chunk] = np.searchsorted(np.array(LARGE) * len(rows), sizes[chunk])
    order = np.concatenate([numbers_where(tier == each) for each in range(len(LARGE) + 1)])
    count = nearest(sizes, order, max(1, round(share * len(rows))))
    if count == len(order):
        raise _none_left(share, len(rows), len(order))
    kept = np.sort(ordered[begins[order[:count]]])
    is_kept = np.empty(len(rows), bool)
    for chunk in chunks(len(rows)):
        at = np.searchsorted(kept, hashes[chunk])
        is_kept[chunk] = kept[np.minimum(at, count - 1)] == hashes[chunk]
    return numbers_where(is_kept)


def nearest(sizes: np.ndarray, order: np.ndarray, wanted: int) -> int:
    """How many sets, in their order, hold a number of samples that is nearest to what is wanted; the fewer of two."""
    before, held = 0, 0
    for chunk in chunks(len(order)):
        sums = held + np.cumsum(sizes[order[chunk]], dtype=np.int64)
        at = int(np.searchsorted(sums, wanted))
        if at < len(sums):
            below = int(sums[at - 1]) if at else held
            is_nearer_below = below > 0 and wanted - below <= int(sums[at]) - wanted
            return before + at if is_nearer_below else before + at + 1
        before, held = before + len(sums), int(sums[-1])
    return before


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
    found = rows.astype(np.uint64)
    found += ROW_STREAM
    if counts.max(initial=0) <= 1:
        found[counts > 0] = keys.keys
        return found
    with_media = np.flatnonzero(counts)
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
