"""Reading ahead while features are still being kept: no further than to the end of the epoch.

What is read ahead into the next epoch is looked for too early, and would be decoded once more; of a set that is smaller
than what is read ahead, whole epochs.
"""

import math
from collections.abc import Callable, Iterator

from aurora_cli.data.batches.collator import Batch

Read = Callable[[range], Iterator[list[Batch]]]
"""The micro-batches of each of some steps, read ahead."""


def read_by_epoch(read: Read, steps: range, epoch_end: Callable[[int], int]) -> Iterator[list[Batch]]:
    """The micro-batches of each step; `epoch_end(step)` is the first step of the epoch after its own.

    An epoch is read for itself as long as each has fewer frames without features than the one before: from there on
    nothing is gained.
    """
    first, rate_before = steps.start, math.inf
    while first < steps.stop:
        end = min(epoch_end(first), steps.stop)
        missing = 0
        for batches in read(range(first, end)):
            missing += sum(int((~batch.is_cached).sum()) for batch in batches if batch.is_cached is not None)
            yield batches
        rate, first = missing / (end - first), end
        if rate == 0 or rate >= rate_before:
            yield from read(range(first, steps.stop))
            return
        rate_before = rate
