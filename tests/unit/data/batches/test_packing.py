import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora_cli.data.batches.packing import Batching, Packs, plan_packs

SIZES = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 9)), min_size=0, max_size=200)


def plan(sizes: list[tuple[int, int]], tokens: int, frames: int, batching: Batching = "packed", seed: int = 0) -> Packs:
    lengths, counts = (np.array(column, np.int32) for column in ([a for a, _ in sizes], [b for _, b in sizes]))
    return plan_packs(lengths, counts, pack_tokens=tokens, pack_frames=frames, batching=batching, seed=seed, epoch=0)


def slow_first_fit_decreasing(sizes: list[tuple[int, int]], tokens: int, frames: int) -> int:
    """Packs that the textbook's loop opens."""
    packs: list[list[int]] = []
    for length, count in sorted(sizes, reverse=True):
        for pack in packs:
            if pack[0] >= length and pack[1] >= count:
                break
        else:
            pack = [tokens, frames]
            packs.append(pack)
        pack[0] -= length
        pack[1] -= count
    return len(packs)


@pytest.mark.slow
@given(SIZES, st.integers(60, 200), st.integers(9, 30), st.sampled_from(["packed", "grouped", "padded"]))
def test_every_sample_is_in_one_pack_and_no_pack_exceeds_a_budget(
    sizes: list[tuple[int, int]], tokens: int, frames: int, batching: Batching
) -> None:
    packs = plan(sizes, tokens, frames, batching)
    assert sorted(packs.samples.tolist()) == list(range(len(sizes)))
    for number in range(packs.num_packs):
        members = [sizes[sample] for sample in packs.pack(number)]
        assert members
        assert sum(length for length, _ in members) <= tokens
        assert sum(count for _, count in members) <= frames


@pytest.mark.slow
@settings(max_examples=200)
@given(SIZES, st.integers(60, 200), st.integers(9, 30))
def test_as_few_packs_as_textbook_first_fit_decreasing(sizes: list[tuple[int, int]], tokens: int, frames: int) -> None:
    assert plan(sizes, tokens, frames).num_packs == slow_first_fit_decreasing(sizes, tokens, frames)


def mixed(count: int) -> list[tuple[int, int]]:
    """Text, images and 8-frame videos at 73 tokens a frame, with 30 to 2,000 tokens of text."""
    rng = np.random.default_rng(0)
    text = np.exp(rng.uniform(np.log(30), np.log(2000), count)).astype(int)
    frames = rng.choice([0, 1, 8], count)
    return list(zip((text + 73 * frames).tolist(), frames.tolist(), strict=True))


def test_a_mixed_set_fills_its_packs() -> None:
    sizes = mixed(20_000)
    packs = plan(sizes, 4096, 256)
    assert sum(length for length, _ in sizes) / (packs.num_packs * 4096) >= 0.99


def test_the_seed_changes_who_shares_a_pack_but_not_how_many_there_are() -> None:
    sizes = mixed(2_000)
    one, other, again = (plan(sizes, 4096, 256, seed=seed) for seed in (1, 2, 1))
    assert one.num_packs == other.num_packs
    assert one.samples.tolist() != other.samples.tolist()
    assert one.samples.tolist() == again.samples.tolist()


def test_grouped_puts_samples_of_like_length_side_by_side() -> None:
    sizes = mixed(500)
    lengths = [sizes[sample][0] for sample in plan(sizes, 4096, 256, "grouped").samples]
    assert lengths == sorted(lengths)


def test_a_sample_above_a_budget_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="exceeds a pack"):
        plan([(101, 0)], 100, 10)
    with pytest.raises(ValueError, match="exceeds a pack"):
        plan([(100, 11)], 100, 10)
