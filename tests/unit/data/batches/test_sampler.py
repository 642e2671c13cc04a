from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_cli.data.batches.packing import Packs
from aurora_cli.data.batches.sampler import PackRow, accumulation, epoch_order, requests
from aurora_cli.errors import UsageError


def row_of(*packs_in_epochs: int, seed: int = 0, block: int = 1) -> PackRow:
    """Epoch e has so many packs, pack i of it holds sample i; the last number goes for all later epochs."""

    def plan(epoch: int) -> Packs:
        count = packs_in_epochs[min(epoch, len(packs_in_epochs) - 1)]
        return Packs(np.arange(count + 1), np.arange(count))

    return PackRow(plan, seed=seed, block=block, constant=len(packs_in_epochs) == 1)


def samples_of_steps(row: PackRow, steps: int, packs: int, world_size: int, micro: int, batch: int) -> list[list[int]]:
    """Samples of each step, put whole_step from what every rank is given, in the order of the plan."""
    accumulations = accumulation(batch, world_size, micro)
    ranks = [
        list(
            requests(
                row,
                range(steps),
                packs=packs,
                rank=rank,
                world_size=world_size,
                micro=micro,
                accumulations=accumulations,
            )
        )
        for rank in range(world_size)
    ]
    taken: list[list[int]] = []
    for step in range(steps):
        whole_step: list[int] = []
        for number in range(step * accumulations, (step + 1) * accumulations):
            for rank in ranks:
                assert len(rank[number]) == micro
                whole_step += [int(sample) for pack in rank[number] for sample in pack]
        taken.append(whole_step)
    return taken


@given(st.integers(1, 50), st.integers(0, 5), st.sampled_from([(1, 1), (1, 4), (2, 1), (2, 2), (4, 1), (8, 1)]))
def test_the_steps_are_the_same_whatever_the_number_of_processes(count: int, seed: int, shape: tuple[int, int]) -> None:
    steps = -(-2 * count // 8)
    one, other = (samples_of_steps(row_of(count, seed=seed), steps, 2 * count, *some, 8) for some in ((1, 8), shape))
    assert one == other


@given(st.integers(1, 50), st.integers(1, 3), st.sampled_from([1, 2, 8]))
def test_every_sample_is_taken_once_an_epoch(count: int, epochs: int, batch: int) -> None:
    row = row_of(count)
    packs = row.packs_in_epochs(epochs)
    steps = samples_of_steps(row, -(-packs // batch), packs, 1, 1, batch)
    taken = [sample for step in steps for sample in step]
    assert len(taken) == epochs * count
    for epoch in range(epochs):
        assert sorted(taken[epoch * count : (epoch + 1) * count]) == list(range(count))


def test_epochs_of_unlike_length_follow_each_other() -> None:
    row = row_of(3, 5, 2)
    assert [row.locate(position) for position in (0, 2, 3, 7, 8, 9, 10)] == [
        (0, 0), (0, 2), (1, 0), (1, 4), (2, 0), (2, 1), (3, 0),
    ]  # fmt: skip
    assert row.packs_in_epochs(2) == 8
    assert row.packs_in_epochs(1.5) == 6
    assert Counter(int(row.pack(position)[0]) for position in range(8)) == {0: 2, 1: 2, 2: 2, 3: 1, 4: 1}


def test_starting_late_equals_having_started_early() -> None:
    def taken(start: int) -> list[list[int]]:
        row = row_of(13, seed=3)
        wanted = requests(row, range(start, 9), packs=36, rank=1, world_size=2, micro=2, accumulations=1)
        return [[int(sample) for pack in packs for sample in pack] for packs in wanted]

    assert taken(5) == taken(0)[5:]


@given(st.integers(1, 7), st.sampled_from([(2, 1, 1), (2, 1, 3), (3, 2, 1), (1, 2, 2)]), st.booleans())
def test_rank_0_has_planned_what_the_others_need_before_its_own_first_batch(
    count: int, shape: tuple[int, int, int], constant: bool
) -> None:
    """Else they wait for its plan, and it for their gradients."""
    ranks, micro, accumulations = shape
    at_once, steps = ranks * micro * accumulations, 9
    planned: list[int] = []

    def plan(epoch: int) -> Packs:
        planned.append(epoch)
        return Packs(np.arange(count + 1), np.arange(count))

    row = PackRow(plan, seed=0, block=1, constant=constant)
    wanted = requests(
        row,
        range(steps),
        packs=steps * at_once - 1,
        rank=0,
        world_size=ranks,
        micro=micro,
        accumulations=accumulations,
    )
    for step in range(steps):
        next(wanted)
        last = min((step + 1) * at_once, steps * at_once - 1) - 1
        assert planned == list(range(last // count + 1)), "each once, in order"
        for _ in range(accumulations - 1):
            next(wanted)


def test_the_seed_and_the_epoch_change_the_order() -> None:
    orders = [epoch_order(40, 1, seed=seed, epoch=epoch).tolist() for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    assert len({tuple(order) for order in orders}) == 3
    assert all(sorted(order) == list(range(40)) for order in orders)


def test_blocks_stay_whole_step_and_a_short_one_is_last() -> None:
    order = epoch_order(11, 4, seed=0, epoch=0).tolist()
    assert {tuple(order[0:4]), tuple(order[4:8])} == {(0, 1, 2, 3), (4, 5, 6, 7)}
    assert order[8:] == [8, 9, 10]


def test_a_batch_that_does_not_divide_names_values_that_do() -> None:
    assert accumulation(16, 2, 4) == 2
    with pytest.raises(UsageError, match=r"train.micro_batch_packs can be 1, 2, 4, 8\.") as caught:
        accumulation(16, 2, 3)
    assert caught.value.exit_code == 2
    with pytest.raises(UsageError, match=r"train.global_batch_packs can be 15 or 18, for example"):
        accumulation(16, 3, 1)
