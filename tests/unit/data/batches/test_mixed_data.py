"""A training at several kept ratios, from its stores to its batches."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st

from aurora_cli.config.merging import TokenMerging
from aurora_cli.constants import IGNORE_INDEX, IMAGE_PLACEHOLDER
from aurora_cli.data.batches.collator import Batch
from aurora_cli.data.batches.corpus import WeightedStore
from aurora_cli.data.batches.mixture import StepRatio
from aurora_cli.data.batches.packing import Batching, count_packs, plan_packs
from aurora_cli.data.batches.selection import PackBudget
from aurora_cli.data.batches.training_data import BatchPlan, TrainingData
from aurora_cli.data.token_store.store import Row
from aurora_cli.models.merge_plan import FrameTokenCounts

IMAGE = 1000
COUNTS = {0.1: 2, 0.5: 6, 1.0: 12}
"""Tokens of a frame."""
RATIOS = [
    StepRatio(TokenMerging(kept_ratio=ratio), FrameTokenCounts(tokens, tokens), share)
    for (ratio, tokens), share in zip(COUNTS.items(), (0.5, 0.25, 0.25), strict=True)
]
PLAN = BatchPlan(
    budget=PackBudget(tokens=40, frames=8), image_size=28, image_mean=(0.5,) * 3, image_std=(0.3,) * 3,
    global_batch_packs=2,
)  # fmt: skip

WriteStore = Callable[..., None]


def row(number: int, text: int, frames: int = 0) -> Row:
    """Damaged images are no matter here: a row that cannot be read is in its step all the same."""
    tokens = [number % 900 + 1] * text
    placeholders = [IMAGE_PLACEHOLDER] * frames
    labels = [IGNORE_INDEX] * (frames + 1) + tokens[1:]
    images = [f"{number}-{frame}.png" for frame in range(frames)] or None
    ids = np.array(placeholders + tokens, np.int32)
    return Row(f"r{number}", images, None, [1] * frames, ids, np.array(labels, np.int32))


@pytest.fixture
def workspace(tmp_path: Path, write_store: WriteStore) -> Path:
    """Text, images, and samples of 3 and 4 frames, which 40 tokens do not hold at ratio 1."""
    (tmp_path / "media").mkdir()
    rows = [row(n, 4 + n % 5) for n in range(8)]
    rows += [row(8 + n, 4 + n % 9, frames=1) for n in range(16)]
    rows += [row(24 + n, 5, frames=3) for n in range(4)]  # 11, 23 and 41 tokens
    rows += [row(28 + n, 30, frames=4) for n in range(4)]  # 38, 54 and 78
    rows += [row(32 + n, 38, frames=4) for n in range(2)]  # 46 at the smallest: cut there
    write_store(tmp_path / "merged", rows)
    return tmp_path


def data_of(workspace: Path, weight: float = 1.0, ratios: list[StepRatio] = RATIOS, **changes: Any) -> TrainingData:
    stores = [WeightedStore(workspace / "merged", workspace, weight)]
    return TrainingData(stores, replace(PLAN, **changes), token_counts=ratios, image_token_id=IMAGE)


def ratio_of(batch: Batch) -> float:
    assert batch.merging is not None
    return batch.merging.kept_ratio


def test_every_sample_is_taken_once_an_epoch_and_in_a_turn_at_each_ratio_in_proportion(workspace: Path) -> None:
    """The wheel of 0.5, 0.25, 0.25 turns in 4 epochs; with 2 ratios that fit, that of 2 and 1 in 3."""
    data = data_of(workspace, epochs=12)
    met: dict[int, Counter[float]] = {number: Counter() for number in range(34)}
    for step in data.batches(0, 1):
        for batch in step:
            for number in batch.sample_ids:
                met[number][ratio_of(batch)] += 1
    for number in range(24):
        assert met[number] == {0.1: 6, 0.5: 3, 1.0: 3}
    for number in range(24, 28):
        assert met[number] == {0.1: 8, 0.5: 4}
    for number in range(28, 34):
        assert met[number] == {0.1: 12}
    assert data.epoch_after(data.total_steps) == 12
    for number in range(12):
        seen = np.concatenate([data.corpus.epoch_at(number, ratio) for ratio in range(3)])
        assert sorted(seen.tolist()) == list(range(34))


def test_a_batch_has_the_tokens_of_its_ratio_and_none_is_beyond_its_pack(workspace: Path) -> None:
    for step in data_of(workspace, epochs=3).batches(0, 1):
        for batch in step:
            frames = 0 if batch.media_lengths is None else int(batch.media_lengths.sum())
            assert batch.visual_tokens == frames * COUNTS[ratio_of(batch)] == int((batch.input_ids == IMAGE).sum())
            assert batch.input_ids.shape[1] <= 40


def test_steps_below_the_ratio_that_is_learned_from_have_their_samples_there_too(workspace: Path) -> None:
    data = data_of(workspace, epochs=3, distill_ratio=0.5, validation_share=0.2, micro_batch_packs=1)
    for step in data.batches(0, 1):
        for batch in step:
            assert (batch.teacher is not None) == (ratio_of(batch) < 0.5)
            if batch.teacher is None:
                continue
            rows = batch.teacher.batch
            assert ratio_of(rows) == 0.5
            assert rows.sample_ids == [number for number in batch.sample_ids if number < 28], (
                "the others have 54 tokens"
            )
            assert int(batch.teacher.has_teacher.sum()) == rows.target_tokens
    assert all(batch.teacher is None for step in data.validation_batches(0, 1) for batch in step)
    assert all(batch.teacher is None for step in data_of(workspace).batches(0, 1) for batch in step)


def test_what_does_not_fit_at_a_ratio_is_counted_for_it(workspace: Path) -> None:
    notes = data_of(workspace).notes()
    assert [line for line in notes if "kept ratio" in line] == [
        "6 samples are too long for a pack at kept ratio 0.5: they are trained at the smaller ones",
        "10 samples are too long for a pack at kept ratio 1: they are trained at the smaller ones",
    ]
    assert any(line.startswith("2 samples are too long for a pack") and "cut" in line for line in notes)


@given(data=st.data())
@hypothesis.settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_shape_and_any_stop_give_the_same_steps_each_of_one_ratio(workspace: Path, data: st.DataObject) -> None:
    """Seed, batching, weight and length draw the run; ranks, micro-batch and the step resumed from do not show."""
    run = {
        "seed": data.draw(st.integers(0, 3)),
        "batching": data.draw(st.sampled_from(["packed", "grouped", "padded"])),
        "epochs": data.draw(st.sampled_from([0.5, 1.0, 1.5, 2.0])),
        "max_steps": data.draw(st.sampled_from([None, 5])),
        "validation_share": data.draw(st.sampled_from([0.0, 0.2])),
        "global_batch_packs": 4,
    }
    weight = data.draw(st.sampled_from([0.5, 1.0, 2.0]))
    ranks, micro = data.draw(st.sampled_from([(1, 2), (2, 1), (2, 2), (4, 1)]))
    alone = data_of(workspace, weight, **run)
    whole = [[(n, ratio_of(batch)) for batch in step for n in batch.sample_ids] for step in alone.batches(0, 1)]
    assert len(whole) == alone.total_steps
    start = data.draw(st.integers(0, len(whole)))
    shaped = [
        list(data_of(workspace, weight, micro_batch_packs=micro, **run).batches(rank, ranks, start_step=start))
        for rank in range(ranks)
    ]
    for steps, expected in zip(zip(*shaped, strict=True), whole[start:], strict=True):
        assert len({ratio_of(batch) for step in steps for batch in step}) == 1, "also of ranks that have no sample"
        found = [(n, ratio_of(b)) for index in range(len(steps[0])) for step in steps for b in [step[index]]
                 for n in b.sample_ids]  # fmt: skip
        assert found == expected


def test_validation_samples_are_measured_at_each_ratio_that_they_fit_at(workspace: Path) -> None:
    data = data_of(workspace, validation_share=0.5)
    kept = set(data.corpus.validation.tolist())
    assert kept & set(range(24, 34)), "some that do not fit at every ratio"
    for rank, ranks in ((0, 1), (1, 2)):
        met = Counter()
        for other in range(ranks):
            for step in data.validation_batches(other, ranks):
                met.update((n, ratio_of(batch)) for batch in step for n in batch.sample_ids)
        expected = [(n, 0.1) for n in kept] + [(n, 0.5) for n in kept if n < 28] + [(n, 1.0) for n in kept if n < 24]
        assert met == Counter(expected), rank


def test_one_ratio_is_planned_as_without_a_mixture(workspace: Path) -> None:
    plain = [StepRatio(None, RATIOS[1].token_counts)]
    for changes in ({}, {"epochs": 2.5}, {"max_steps": 7}):
        stores = [WeightedStore(workspace / "merged", workspace)]
        counts, plan = RATIOS[1].token_counts, replace(PLAN, **changes)
        one = TrainingData(stores, plan, token_counts=counts, image_token_id=IMAGE)
        other = data_of(workspace, ratios=plain, **changes)
        ours, theirs = ([[b.sample_ids for b in step] for step in data.batches(0, 1)] for data in (one, other))
        assert ours == theirs


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, 8)), max_size=80),
    st.sampled_from(["packed", "grouped", "padded"]),
)
def test_packs_are_counted_without_their_plan(sizes: list[tuple[int, int]], batching: Batching) -> None:
    lengths, frames = (np.array([size[i] for size in sizes], np.int32) for i in (0, 1))
    room: dict[str, Any] = {"pack_tokens": 60, "pack_frames": 8, "batching": batching}
    assert count_packs(lengths, frames, **room) == plan_packs(lengths, frames, seed=1, epoch=2, **room).num_packs


@pytest.mark.slow
def test_packs_of_a_mixture_are_as_full_as_those_of_one_ratio() -> None:
    """20,000 images and videos of 8 frames, text log-normal around 150: packs of 8,192 tokens are filled to 97 %, where
    the limit of frames leaves room."""
    rng = np.random.default_rng(0)
    text = np.clip(np.exp(rng.normal(np.log(150), 0.7, 20_000)), 5, 1500).astype(np.int32)
    frames = np.where(rng.random(20_000) < 0.7, 1, 8).astype(np.int32)
    filled = planned = 0
    which = rng.integers(0, 5, 20_000)
    for ratio, tokens in enumerate((18, 36, 91, 182, 364)):
        own = which == ratio
        lengths = text[own] + frames[own] * tokens
        packs = plan_packs(lengths, frames[own], pack_tokens=8192, pack_frames=400, batching="packed", seed=0, epoch=0)
        filled, planned = filled + int(lengths.sum()), planned + packs.num_packs
    assert filled / (planned * 8192) >= 0.97
