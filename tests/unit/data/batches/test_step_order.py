"""Which ratio a step has, and which of that ratio's packs it takes."""

import math
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aurora_cli.data.batches.packing import Packs
from aurora_cli.data.batches.sampler import PackRow
from aurora_cli.data.batches.step_order import StepOrder, interleaved

COUNTS = st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=1, max_size=4)
"""Of each ratio: packs in the epochs 0, 1 and 2."""


def row_of(counts: list[int]) -> PackRow:
    """Epoch e has counts[e] packs, later ones as many as the last and one."""

    def packs_in(epoch: int) -> int:
        return counts[epoch] if epoch < len(counts) else counts[-1] + 1

    def plan(epoch: int) -> Packs:
        return Packs(np.arange(packs_in(epoch) + 1), np.arange(packs_in(epoch)))

    return PackRow(plan, seed=0, block=1, constant=False, count=packs_in)


def order_of(counts: list[list[int]], packs: int, epochs: float | None, seed: int = 0) -> StepOrder:
    return StepOrder([row_of(one) for one in counts], packs, seed=seed, epochs=epochs)


@given(COUNTS, st.integers(1, 4), st.sampled_from([1.0, 2.0, 3.0, 0.5, 1.5, 2.25]), st.integers(0, 3))
def test_a_run_takes_every_pack_of_its_epochs_once_in_the_order_of_its_ratio(
    counts: list[list[int]], packs: int, epochs: float, seed: int
) -> None:
    order = order_of(counts, packs, epochs, seed)
    assert order.ends is not None
    located = [order.locate(step) for step in range(order.steps)]
    for ratio, end in enumerate(order.ends):
        numbers = [one.number for one in located if one.ratio == ratio]
        assert numbers == list(range(math.ceil(end / packs))), "each step of the ratio once, in order"
        whole = int(epochs)
        assert end == sum(counts[ratio][:whole]) + math.ceil((epochs - whole) * [*counts[ratio], 0][whole])


@given(COUNTS, st.integers(1, 4), st.integers(0, 3))
def test_only_behind_the_last_epoch_is_a_step_short(counts: list[list[int]], packs: int, seed: int) -> None:
    order = order_of(counts, packs, 3.0, seed)
    assert order.ends is not None
    is_whole = [(p.number + 1) * packs <= order.ends[p.ratio] for p in map(order.locate, range(order.steps))]
    short = sum(end % packs > 0 for end in order.ends) if len(counts) > 1 else is_whole.count(False)
    assert is_whole == [True] * (order.steps - short) + [False] * short


@given(COUNTS, st.integers(1, 4), st.data())
def test_a_step_is_the_same_whichever_is_asked_for_first(
    counts: list[list[int]], packs: int, data: st.DataObject
) -> None:
    order = order_of(counts, packs, 3.0)
    located = [order.locate(step) for step in range(order.steps)]
    mixed = data.draw(st.permutations(range(order.steps)))
    assert [order.locate(step) for step in mixed] == [located[step] for step in mixed]
    longer = order_of(counts, packs, None)
    whole = [p for p in located if order.ends and (p.number + 1) * packs <= order.ends[p.ratio]]
    assert [longer.locate(step) for step in range(len(whole))] == whole, "a longer run begins alike"


@given(COUNTS.filter(lambda counts: len(counts) > 1), st.integers(1, 4), st.sampled_from([3.0, 1.5, 0.25]))
def test_epochs_go_up_from_none_to_all(counts: list[list[int]], packs: int, epochs: float) -> None:
    order = order_of(counts, packs, epochs)
    gone = [order.epochs_after(step) for step in range(order.steps + 1)]
    assert gone[0] == 0.0
    assert all(before <= after for before, after in pairwise(gone))
    last = [counts_of_ratio[math.ceil(epochs) - 1] for counts_of_ratio in counts]
    if any(last):
        assert gone[-1] == epochs


@given(st.lists(st.integers(0, 40), min_size=1, max_size=5), st.integers(0, 5))
def test_every_stretch_has_about_its_share_of_each(counts: list[int], seed: int) -> None:
    ratios = interleaved(np.array(counts), np.random.default_rng(seed))
    assert np.bincount(ratios, minlength=len(counts)).tolist() == counts
    for first in range(len(ratios) + 1):
        so_far = np.bincount(ratios[:first], minlength=len(counts))
        assert (np.abs(so_far - np.array(counts) * first / max(1, len(ratios))) <= len(counts)).all()


def test_the_seed_and_the_epoch_change_the_order() -> None:
    orders = [order_of([[40, 40, 40]] * 3, 2, None, seed) for seed in (0, 1)]
    first, other = ([order.locate(step).ratio for step in range(60)] for order in orders)
    second = [orders[0].locate(step).ratio for step in range(60, 120)]
    assert first != other
    assert first != second
    assert sorted(first) == sorted(second) == sorted(other)
