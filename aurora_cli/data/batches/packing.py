"""Which samples share a pack: a plan made from two integers a sample, before anything is read.

First-fit-decreasing, pack by pack: take the largest sample that still fits, until none does. Lengths are small
integers, so samples of equal size are one *kind* with a count, and a filled pack is a *recipe* that is repeated as
often as the counts allow: the work grows with the kinds, not with the samples. Frames are a second budget.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple, assert_never

import numpy as np

Batching = Literal["packed", "grouped", "padded"]
CHUNK = 1 << 20
"""Samples looked at in one numpy call: bounds the temporaries."""


class Packs(NamedTuple):
    """Samples of pack i: `samples[offsets[i] : offsets[i + 1]]`, numbered as in the arrays that were planned."""

    offsets: np.ndarray
    samples: np.ndarray

    @property
    def num_packs(self) -> int:
        return len(self.offsets) - 1

    def pack(self, number: int) -> np.ndarray:
        return self.samples[self.offsets[number] : self.offsets[number + 1]]


class Kinds(NamedTuple):
    """The distinct sizes, ascending by length, then frames; `order` lists the samples kind by kind."""

    lengths: np.ndarray
    frames: np.ndarray
    counts: np.ndarray
    order: np.ndarray


class Recipe(NamedTuple):
    """`repeats` packs alike, each of `parts`: (kind, how many)."""

    repeats: int
    parts: list[tuple[int, int]]


def plan_packs(
    lengths: np.ndarray,
    frames: np.ndarray,
    *,
    pack_tokens: int,
    pack_frames: int,
    batching: Batching,
    seed: int,
    epoch: int,
) -> Packs:
    """Each sample in exactly one pack. The number of packs does not depend on seed or epoch, their contents do.

    `grouped` and `padded` make packs of one sample: `grouped` from short to long (the sampler shuffles whole
    batches of them), `padded` in the order given.

    Raises:
        ValueError: a sample exceeds a budget by itself; the caller cuts or rejects those first.
    """
    if len(lengths) and (lengths.max() > pack_tokens or frames.max() > pack_frames):
        raise ValueError(f"a sample of {lengths.max()} tokens or {frames.max()} frames exceeds a pack")
    match batching:
        case "packed":
            kinds = _kinds(lengths, frames, np.random.default_rng([seed, epoch]))
            return _fill(kinds, _recipes(kinds, pack_tokens, pack_frames))
        case "grouped":
            kinds = _kinds(lengths, frames, np.random.default_rng([seed, epoch]))
            return Packs(np.arange(len(lengths) + 1), kinds.order)
        case "padded":
            return Packs(np.arange(len(lengths) + 1), np.arange(len(lengths)))
    assert_never(batching)


def _kinds(lengths: np.ndarray, frames: np.ndarray, rng: np.random.Generator) -> Kinds:
    """Sort samples by size with one radix sort, and shuffle those of equal size."""
    if len(lengths) == 0:
        empty = np.zeros(0, np.int64)
        return Kinds(empty, empty, empty, empty)
    width = int(frames.max()) + 1
    chunks = [slice(start, start + CHUNK) for start in range(0, len(lengths), CHUNK)]
    histogram = np.zeros((int(lengths.max()) + 1) * width, np.int64)
    for chunk in chunks:
        histogram += np.bincount(_sizes(lengths[chunk], frames[chunk], width), minlength=len(histogram))
    sizes = np.flatnonzero(histogram)
    kind_of_size = np.zeros(len(histogram), np.int32)
    kind_of_size[sizes] = np.arange(len(sizes))
    # numpy sorts 16-bit integers by radix, wider ones by merging at a sixth of the speed
    kinds = np.empty(len(lengths), np.uint16 if len(sizes) <= 1 << 16 else np.int32)
    for chunk in chunks:
        kinds[chunk] = kind_of_size[_sizes(lengths[chunk], frames[chunk], width)]
    order = np.argsort(kinds, kind="stable")
    counts = histogram[sizes]
    end = 0
    for count in counts.tolist():
        start, end = end, end + count
        rng.shuffle(order[start:end])
    return Kinds(sizes // width, sizes % width, counts, order)


def _sizes(lengths: np.ndarray, frames: np.ndarray, width: int) -> np.ndarray:
    return lengths.astype(np.int64) * width + frames


def _recipes(kinds: Kinds, pack_tokens: int, pack_frames: int) -> Iterator[Recipe]:
    """Fill one pack greedily, repeat it while the counts last, and again.

    The kinds that are left are the bits of one integer, so that "the largest that fits" is a mask and a bit length.
    """
    lengths, frames, counts = kinds.lengths.tolist(), kinds.frames.tolist(), kinds.counts.tolist()
    fitting = np.searchsorted(kinds.lengths, np.arange(pack_tokens + 1), side="right").tolist()
    """How many kinds, from the shortest on, are at most so long."""
    most_frames = max(frames, default=0)
    few_enough: dict[int, int] = {}
    left = (1 << len(lengths)) - 1
    while left:
        tokens_room, frames_room, parts = pack_tokens, pack_frames, []
        candidates = left
        while candidates:
            kind = candidates.bit_length() - 1
            taken = min(
                counts[kind],
                tokens_room // lengths[kind] if lengths[kind] else counts[kind],
                frames_room // frames[kind] if frames[kind] else counts[kind],
            )
            parts.append((kind, taken))
            tokens_room -= taken * lengths[kind]
            frames_room -= taken * frames[kind]
            candidates &= (1 << min(kind, fitting[tokens_room])) - 1
            if frames_room < most_frames:
                if frames_room not in few_enough:
                    few_enough[frames_room] = _bits(kinds.frames <= frames_room)
                candidates &= few_enough[frames_room]
        repeats = min(counts[kind] // taken for kind, taken in parts)
        for kind, taken in parts:
            counts[kind] -= repeats * taken
            if counts[kind] == 0:
                left ^= 1 << kind
        yield Recipe(repeats, parts)


def _bits(flags: np.ndarray) -> int:
    return int.from_bytes(np.packbits(flags, bitorder="little").tobytes(), "little")


def _fill(kinds: Kinds, recipes: Iterator[Recipe]) -> Packs:
    """Deal the samples of each kind out to the packs."""
    next_of_kind = (np.cumsum(kinds.counts) - kinds.counts).tolist()
    samples = np.empty_like(kinds.order)
    sizes: list[np.ndarray] = []
    end = 0
    for repeats, parts in recipes:
        size = sum(taken for _, taken in parts)
        start, end = end, end + repeats * size
        packs = samples[start:end].reshape(repeats, size)
        column = 0
        for kind, taken in parts:
            first = next_of_kind[kind]
            next_of_kind[kind] = first + repeats * taken
            packs[:, column : column + taken] = kinds.order[first : next_of_kind[kind]].reshape(repeats, taken)
            column += taken
        sizes.append(np.full(repeats, size, np.int32))
    offsets = np.zeros(sum(map(len, sizes)) + 1, np.int64)
    if sizes:
        np.cumsum(np.concatenate(sizes), out=offsets[1:])
    return Packs(offsets, samples)
