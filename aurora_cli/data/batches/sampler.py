"""Which packs a step takes: a function of (seed, step), whatever the number of processes or loader workers.

All epochs, each in its own shuffled order, form one endless row of packs. Step s takes the packs at positions
[s * G, (s + 1) * G) of it, G = `train.global_batch_packs`: nothing is dropped or taken twice where one epoch meets
the next. Only a run's very last step may be short; its missing packs are empty, and weigh nothing in the loss.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np

from aurora_cli.data.batches.packing import Packs
from aurora_cli.errors import UsageError

ORDER_STREAM = 1
"""Keeps the order's random numbers apart from the plan's."""


def accumulation(global_batch_packs: int, world_size: int, micro_batch_packs: int) -> int:
    """Micro-batches that each process takes through the network in a step.

    Raises:
        UsageError: processes x micro-batch do not divide the global batch.
    """
    at_once = world_size * micro_batch_packs
    if global_batch_packs % at_once:
        fitting = [size for size in range(1, global_batch_packs + 1) if global_batch_packs % (size * world_size) == 0]
        if fitting:
            hint = f"With {world_size} processes train.micro_batch_packs can be {', '.join(map(str, fitting))}."
        else:
            below = global_batch_packs // world_size * world_size
            near = [str(size) for size in (below, below + world_size) if size]
            hint = f"With {world_size} processes train.global_batch_packs can be {' or '.join(near)}, for example."
        raise UsageError(
            f"train.global_batch_packs is {global_batch_packs}, which {world_size} processes x"
            f" train.micro_batch_packs {micro_batch_packs} = {at_once} does not divide",
            hint=hint,
        )
    return global_batch_packs // at_once


def positions(step: int, rank: int, world_size: int, micro_batch_packs: int, accumulations: int) -> list[range]:
    """Positions in the row of packs of each micro-batch of one rank in `step`, counted from 0.

    >>> positions(step=1, rank=1, world_size=2, micro_batch_packs=2, accumulations=2)
    [range(10, 12), range(14, 16)]
    """
    first = step * accumulations * world_size * micro_batch_packs + rank * micro_batch_packs
    stride = world_size * micro_batch_packs
    return [
        range(first + number * stride, first + number * stride + micro_batch_packs) for number in range(accumulations)
    ]


def epoch_order(packs: int, block: int, *, seed: int, epoch: int) -> np.ndarray:
    """The order in which an epoch takes its packs; blocks of `block` neighbours stay side by side, a short one last."""
    rng = np.random.default_rng([seed, epoch, ORDER_STREAM])
    whole = packs // block
    blocks = rng.permutation(whole)
    order = (blocks[:, None] * block + np.arange(block)).reshape(-1)
    return np.concatenate([order, np.arange(whole * block, packs)])


class PackRow:
    """The endless row of packs. Holds the plan of one epoch at a time."""

    def __init__(
        self,
        plan: Callable[[int], Packs],
        *,
        seed: int,
        block: int,
        constant: bool,
        count: Callable[[int], int] | None = None,
    ) -> None:
        """`plan(epoch)` names samples, `block` as in `epoch_order`; `constant`: all epochs have as many packs; else
        `count(epoch)` may say how many, faster than its plan."""
        self._plan = plan
        self._count = count
        self._seed = seed
        self._block = block
        self._constant = constant
        self._counts: dict[int, int] = {}
        self._current: tuple[int, Packs, np.ndarray] | None = None

    def pack(self, position: int) -> np.ndarray:
        """Sample numbers of the pack at `position`."""
        epoch, index = self.locate(position)
        packs, order = self._epoch(epoch)
        return packs.pack(int(order[index]))

    def reach(self, position: int) -> None:
        """Have the plan of the epoch that a position lies in."""
        self._epoch(self.locate(position)[0])

    def locate(self, position: int) -> tuple[int, int]:
        """(epoch, index within it)."""
        if self._constant:
            return divmod(position, self.packs_in_epoch(0))
        epoch = 0
        while position >= self.packs_in_epoch(epoch):
            position -= self.packs_in_epoch(epoch)
            epoch += 1
        return epoch, position

    def packs_in_epoch(self, epoch: int) -> int:
        epoch = 0 if self._constant else epoch
        if epoch not in self._counts:
            if self._count is not None and epoch > 0:  # the first one's plan is needed next
                self._counts[epoch] = self._count(epoch)
            else:
                self._epoch(epoch)
        return self._counts[epoch]

    def packs_in_epochs(self, epochs: float) -> int:
        """Packs in so many times through the data; of a part of an epoch, no less than that part."""
        whole = int(epochs)
        packs = sum(self.packs_in_epoch(epoch) for epoch in range(whole))
        rest = epochs - whole
        return packs + (math.ceil(rest * self.packs_in_epoch(whole)) if rest else 0)

    def _epoch(self, epoch: int) -> tuple[Packs, np.ndarray]:
        if self._current is None or self._current[0] != epoch:
            self._current = None  # two plans of 20 M samples at once are 700 MB
            packs = self._plan(epoch)
            self._counts[epoch] = packs.num_packs
            self._current = (epoch, packs, epoch_order(packs.num_packs, self._block, seed=self._seed, epoch=epoch))
        return self._current[1], self._current[2]


def first_step_after_epoch(row: PackRow, step: int, global_batch_packs: int) -> int:
    """The first step (counted from 0) that begins in a later epoch than `step` does."""
    begin = step * global_batch_packs
    epoch, index = row.locate(begin)
    return math.ceil((begin + row.packs_in_epoch(epoch) - index) / global_batch_packs)


def requests(
    row: PackRow, steps: range, *, packs: int, rank: int, world_size: int, micro: int, accumulations: int
) -> Iterator[list[np.ndarray]]:
    """One rank's micro-batches of `steps`, in order: the samples of each of their packs.

    Positions from `packs` on are behind the run's end, and empty. Before rank 0 begins a step it has planned every
    epoch that the step reaches into: another rank may be in the next one already, and waits for that plan.
    """
    nothing = np.zeros(0, np.int64)
    at_once = world_size * micro * accumulations
    for step in steps:
        own = positions(step, rank, world_size, micro, accumulations)
        wanted = {position for micro_batch in own for position in micro_batch}
        found: dict[int, np.ndarray] = {}
        for position in range(step * at_once, min((step + 1) * at_once, packs)):
            if position in wanted:
                found[position] = row.pack(position)
            elif rank == 0:
                row.reach(position)
        for micro_batch in own:
            yield [found.get(position, nothing) for position in micro_batch]
