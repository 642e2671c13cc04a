"""Which samples share a pack: a plan made from two integers a sample, before anything is read.

First-fit-decreasing, pack by pack: take the largest sample that still fits, until none does. Lengths are small
integers, so samples of equal size are one *size class* with a count, and a filled pack is a *pattern* that is repeated
as often as the counts allow: the work grows with the classes, not with the samples. Frames are a second budget.
"""

from collections.abc import Iterator
from typing import Literal, NamedTuple, assert_never

import numpy as np

from aurora_cli.data.batches.selection import chunks, number_type

Batching = Literal["packed", "grouped", "padded"]


class Packs(NamedTuple):
    """Samples of pack i: `samples[offsets[i] : offsets[i + 1]]`, numbered as in the arrays that were planned."""

    offsets: np.ndarray
    samples: np.ndarray

    @property
    def num_packs(self) -> int:
        return len(self.offsets) - 1

    def pack(self, number: int) -> np.ndarray:
        return self.samples[self.offsets[number] : self.offsets[number + 1]]


class SizeClasses(NamedTuple):
    """The distinct sizes, ascending by length, then frames; `order` lists the samples class by class."""

    lengths: np.ndarray
    frames: np.ndarray
    counts: np.ndarray
    order: np.ndarray


class Pattern(NamedTuple):
    """`repeats` packs alike, each of `parts`: (size class, how many)."""

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
            classes = _size_classes(lengths, frames, np.random.default_rng([seed, epoch]))
            return _fill(classes, _patterns(classes, pack_tokens, pack_frames))
        case "grouped":
            classes = _size_classes(lengths, frames, np.random.default_rng([seed, epoch]))
            return Packs(np.arange(len(lengths) + 1), classes.order)
        case "padded":
            return Packs(np.arange(len(lengths) + 1), np.arange(len(lengths), dtype=number_type(len(lengths))))
    assert_never(batching)


def count_packs(
    lengths: np.ndarray, frames: np.ndarray, *, pack_tokens: int, pack_frames: int, batching: Batching
) -> int:
    """How many packs `plan_packs` makes, in a fraction of its time."""
    if batching != "packed":
        return len(lengths)
    width, histogram = _histogram(lengths, frames)
    sizes = np.flatnonzero(histogram)
    classes = SizeClasses(sizes // width, sizes % width, histogram[sizes], np.zeros(0, np.int64))
    return sum(pattern.repeats for pattern in _patterns(classes, pack_tokens, pack_frames))


def _histogram(lengths: np.ndarray, frames: np.ndarray) -> tuple[int, np.ndarray]:
    """What a length is multiplied with in the number of a size, to which its frames are added; samples of each size."""
    width = int(frames.max(initial=0)) + 1
    histogram = np.zeros((int(lengths.max(initial=0)) + 1) * width, np.int64)
    for chunk in chunks(len(lengths)):
        histogram += np.bincount(_sizes(lengths[chunk], frames[chunk], width), minlength=len(histogram))
    return width, histogram


def _size_classes(lengths: np.ndarray, frames: np.ndarray, rng: np.random.Generator) -> SizeClasses:
    """Sort samples by size, each chunk by radix into its positions among all, and shuffle those of equal size."""
    if len(lengths) == 0:
        empty = np.zeros(0, np.int64)
        return SizeClasses(empty, empty, empty, empty)
    width, histogram = _histogram(lengths, frames)
    sizes = np.flatnonzero(histogram)
    # numpy sorts 16-bit integers by radix, wider ones by merging at a sixth of the speed
    class_of_size = np.zeros(len(histogram), np.uint16 if len(sizes) <= 1 << 16 else np.int32)
    class_of_size[sizes] = np.arange(len(sizes))
    counts = histogram[sizes]
    order = np.empty(len(lengths), number_type(len(lengths)))
    next_of_class = np.cumsum(counts) - counts
    for chunk in chunks(len(lengths)):
        classes = class_of_size[_sizes(lengths[chunk], frames[chunk], width)]
        in_order, found = np.argsort(classes, kind="stable"), np.bincount(classes, minlength=len(sizes))
        positions = np.repeat(next_of_class - (np.cumsum(found) - found), found) + np.arange(len(classes))
        order[positions] = in_order + chunk.start
        next_of_class += found
    end = 0
    for count in counts.tolist():
        start, end = end, end + count
        rng.shuffle(order[start:end])
    return SizeClasses(sizes // width, sizes % width, counts, order)


def _sizes(lengths: np.ndarray, frames: np.ndarray, width: int) -> np.ndarray:
    return lengths.astype(np.int64) * width + frames


def _patterns(classes: SizeClasses, pack_tokens: int, pack_frames: int) -> Iterator[Pattern]:
    """Fill one pack greedily, repeat it while the counts last, and again.

    The classes that are left are the bits of one integer, so that "the largest that fits" is a mask and a bit length.
    """
    lengths, frames, counts = classes.lengths.tolist(), classes.frames.tolist(), classes.counts.tolist()
    fitting = np.searchsorted(classes.lengths, np.arange(pack_tokens + 1), side="right").tolist()
    """How many classes, from the shortest on, are at most so long."""
    most_frames = max(frames, default=0)
    few_enough: dict[int, int] = {}
    left = (1 << len(lengths)) - 1
    while left:
        tokens_room, frames_room, parts = pack_tokens, pack_frames, []
        candidates = left
        while candidates:
            size_class = candidates.bit_length() - 1
            taken = min(
                counts[size_class],
                tokens_room // lengths[size_class] if lengths[size_class] else counts[size_class],
                frames_room // frames[size_class] if frames[size_class] else counts[size_class],
            )
            parts.append((size_class, taken))
            tokens_room -= taken * lengths[size_class]
            frames_room -= taken * frames[size_class]
            candidates &= (1 << min(size_class, fitting[tokens_room])) - 1
            if frames_room < most_frames:
                if frames_room not in few_enough:
                    few_enough[frames_room] = _bits(classes.frames <= frames_room)
                candidates &= few_enough[frames_room]
        repeats = min(counts[size_class] // taken for size_class, taken in parts)
        for size_class, taken in parts:
            counts[size_class] -= repeats * taken
            if counts[size_class] == 0:
                left ^= 1 << size_class
        yield Pattern(repeats, parts)


def _bits(flags: np.ndarray) -> int:
    return int.from_bytes(np.packbits(flags, bitorder="little").tobytes(), "little")


def _fill(classes: SizeClasses, patterns: Iterator[Pattern]) -> Packs:
    """Deal the samples of each size class out to the packs."""
    next_of_class = (np.cumsum(classes.counts) - classes.counts).tolist()
    samples = np.empty_like(classes.order)
    sizes: list[np.ndarray] = []
    end = 0
    for repeats, parts in patterns:
        size = sum(taken for _, taken in parts)
        start, end = end, end + repeats * size
        packs = samples[start:end].reshape(repeats, size)
        column = 0
        for size_class, taken in parts:
            first = next_of_class[size_class]
            next_of_class[size_class] = first + repeats * taken
            packs[:, column : column + taken] = classes.order[first : next_of_class[size_class]].reshape(repeats, taken)
            column += taken
        sizes.append(np.full(repeats, size, np.int32))
    offsets = np.zeros(sum(map(len, sizes)) + 1, np.int64)
    if sizes:
        np.cumsum(np.concatenate(sizes), out=offsets[1:])
    return Packs(offsets, samples)
