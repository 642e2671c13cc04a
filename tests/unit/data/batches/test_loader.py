"""From token stores and media on disk to the micro-batches of each step, as `train` takes them."""

import base64
import io
import math
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from PIL import Image

from aurora_cli.constants import IGNORE_INDEX, IMAGE_PLACEHOLDER
from aurora_cli.data.batches.collator import Batch
from aurora_cli.data.batches.corpus import Corpus, WeightedStore
from aurora_cli.data.batches.loader import MicroBatches
from aurora_cli.data.batches.sampler import PackRow
from aurora_cli.data.batches.selection import PackBudget
from aurora_cli.data.batches.training_data import BatchPlan, TrainingData
from aurora_cli.data.token_store.store import Row
from aurora_cli.errors import DataError, HostError, UsageError
from aurora_cli.models.merge_plan import FrameTokenCounts

TOKENS = FrameTokenCounts(merged=3, first=9)
IMAGE = 1000

WriteClip = Callable[[Path, Sequence[Image.Image]], None]
WriteStore = Callable[..., None]


def row(number: int, text: int, **media: Any) -> Row:
    """A record of `text` tokens, all targets but the first, behind its placeholders."""
    media_lengths = media.get("media_lengths", [])
    placeholders = [IMAGE_PLACEHOLDER] * sum(media_lengths)
    tokens = [number % 900 + 1] * text
    labels = [IGNORE_INDEX] * (len(placeholders) + 1) + tokens[1:]
    return Row(
        f"r{number}",
        media.get("image"),
        media.get("video"),
        media_lengths,
        np.array(placeholders + tokens, np.int32),
        np.array(labels, np.int32),
        media.get("span"),
    )


@pytest.fixture
def workspace(tmp_path: Path, write_store: WriteStore, write_video: WriteClip) -> Path:
    """30 records: text, images (two in some), a video file, a video of frame files; levels say which image it is."""
    media = tmp_path / "media"
    media.mkdir()
    for number in range(12):
        Image.new("RGB", (20, 16), (number * 20,) * 3).save(media / f"{number}.png")
    write_video(media / "video.avi", [Image.new("RGB", (32, 24), (level,) * 3) for level in (30, 90, 150, 210)])
    rows = [row(number, 3 + number) for number in range(10)]
    rows += [row(10 + n, 4 + n, image=[f"{n}.png"], media_lengths=[1]) for n in range(12)]
    rows += [row(22 + n, 5, image=[f"{n}.png", f"{n + 1}.png"], media_lengths=[1, 1]) for n in range(4)]
    rows += [row(26 + n, 6, video="video.avi", media_lengths=[2]) for n in range(2)]
    rows += [row(28 + n, 6, image=["1.png", "2.png", "3.png"], media_lengths=[3]) for n in range(2)]
    write_store(tmp_path / "merged", rows)
    return tmp_path


PLAN = BatchPlan(
    budget=PackBudget(tokens=40, frames=8),
    image_size=28,
    image_mean=(0.48145466, 0.4578275, 0.40821073),
    image_std=(0.26862954, 0.26130258, 0.27577711),
    global_batch_packs=4,
)


def data_of(workspace: Path, weight: float = 1.0, **changes: Any) -> TrainingData:
    stores = [WeightedStore(workspace / "merged", workspace, weight)]
    return TrainingData(stores, replace(PLAN, **changes), token_counts=TOKENS, image_token_id=IMAGE)


def flat(steps: list[list[Batch]]) -> list[Batch]:
    return [batch for step in steps for batch in step]


def samples_of(batch: Batch) -> dict[int, tuple[Any, ...]]:
    """Ids, positions and labels of each sample of a batch."""
    seen: dict[int, tuple[Any, ...]] = {}
    numbers = iter(batch.sample_ids)
    for pack in range(len(batch.input_ids)):
        segments = batch.segment_ids[pack]
        for segment in range(1, int(segments.max()) + 1):
            mask = segments == segment
            seen[next(numbers)] = tuple(
                tuple(table[pack][mask].tolist()) for table in (batch.input_ids, batch.position_ids, batch.labels)
            )
    return seen


@pytest.mark.slow
def test_every_sample_arrives_once_an_epoch_with_its_frames(workspace: Path) -> None:
    data = data_of(workspace)
    batches = flat(list(data.batches(0, 1)))
    assert data.total_steps == len(batches) / 4
    assert sorted(number for batch in batches for number in batch.sample_ids) == list(range(30))
    for batch in batches:
        frames = 0 if batch.media_lengths is None else int(batch.media_lengths.sum())
        assert frames == (0 if batch.pixel_values is None else len(batch.pixel_values))
        assert batch.visual_tokens == int((batch.input_ids == IMAGE).sum())
        assert batch.target_tokens == int((batch.labels != IGNORE_INDEX).sum())
        assert batch.positions == batch.input_ids.numel()
        assert batch.input_ids.shape[1] <= 40
        if batch.pixel_values is not None:
            assert batch.pixel_values.shape[1:] == (3, 28, 28)
            assert batch.pixel_values.dtype == torch.float32
            assert batch.pixel_values.isfinite().all()


def test_packed_grouped_and_padded_hold_the_same_samples(workspace: Path) -> None:
    seen = []
    for batching in ("packed", "grouped", "padded"):
        data = data_of(workspace, batching=batching, micro_batch_packs=2)
        samples: dict[int, tuple[Any, ...]] = {}
        for batch in flat(list(data.batches(0, 1))):
            samples |= samples_of(batch)
        seen.append(samples)
    assert len(seen[0]) == 30
    assert seen[0] == seen[1] == seen[2]


def same(one: Batch, other: Batch) -> bool:
    return all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor) else a == b
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.slow
def test_neither_workers_nor_processes_change_a_batch(workspace: Path) -> None:
    alone = flat(list(data_of(workspace, epochs=2).batches(0, 1)))
    with_workers = flat(list(data_of(workspace, epochs=2, workers=2).batches(0, 1)))
    assert len(alone) == len(with_workers)
    assert all(map(same, alone, with_workers))
    ranks = [flat(list(data_of(workspace, epochs=2).batches(rank, 2))) for rank in range(2)]
    of_ranks = [batch for pair in zip(*ranks, strict=True) for batch in pair]
    assert all(map(same, alone, of_ranks))


@pytest.mark.slow
@given(data=st.data())
@hypothesis.settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_shape_and_any_stop_give_the_same_global_batches(workspace: Path, data: st.DataObject) -> None:
    """Seed, batching and weight draw the run; ranks, micro-batch and the step resumed from must not show in it."""
    run = {
        "seed": data.draw(st.integers(0, 3)),
        "batching": data.draw(st.sampled_from(["packed", "grouped", "padded"])),
        "epochs": data.draw(st.sampled_from([1.0, 1.5, 2.0])),
        "validation_share": data.draw(st.sampled_from([0.0, 0.1])),
    }
    weight = data.draw(st.sampled_from([0.5, 1.0, 1.5]))
    ranks, micro = data.draw(st.sampled_from([(1, 2), (2, 1), (2, 2), (4, 1)]))
    whole = [
        [n for batch in step for n in batch.sample_ids] for step in data_of(workspace, weight, **run).batches(0, 1)
    ]
    start = data.draw(st.integers(0, len(whole)))
    shaped = [
        list(data_of(workspace, weight, micro_batch_packs=micro, **run).batches(rank, ranks, start_step=start))
        for rank in range(ranks)
    ]
    of_ranks = [
        [number for index in range(len(steps[0])) for step in steps for number in step[index].sample_ids]
        for steps in zip(*shaped, strict=True)
    ]
    assert of_ranks == whole[start:]


def test_resuming_late_looks_at_nothing_before(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    real = PackRow.pack
    monkeypatch.setattr(PackRow, "pack", lambda self, position: taken.append(position) or real(self, position))
    data = data_of(workspace, epochs=50, validation_share=0.2)
    next(data.batches(0, 1, start_step=data.total_steps - 1))
    assert min(taken) >= 4 * (data.total_steps - 1)


def test_starting_late_equals_having_started_early(workspace: Path) -> None:
    whole = list(data_of(workspace, epochs=2).batches(0, 1))
    late = list(data_of(workspace, epochs=2).batches(0, 1, start_step=2))
    assert all(map(same, flat(whole[2:]), flat(late)))
    assert len(late) == len(whole) - 2


def test_a_broken_image_is_listed_and_changes_no_other_sample(workspace: Path) -> None:
    good = flat(list(data_of(workspace).batches(0, 1)))
    (workspace / "media" / "3.png").write_bytes(b"nothing")
    (workspace / "media" / "video.avi").unlink()
    bad = flat(list(data_of(workspace).batches(0, 1)))
    rejected = {line.sample: line for batch in bad for line in batch.rejected}
    assert set(rejected) == {13, 24, 25, 26, 27, 28, 29}
    assert rejected[13].id == "r13"
    assert "3.png: not a readable image" in rejected[13].reason
    assert rejected[26].media == "video.avi"
    for before, after in zip(good, bad, strict=True):
        assert before.sample_ids == after.sample_ids
        assert torch.equal(before.input_ids, after.input_ids)
        was, now = samples_of(before), samples_of(after)
        for number in before.sample_ids:
            targets = [label for label in now[number][2] if label != IGNORE_INDEX]
            assert targets == [] if number in rejected else was[number] == now[number]
        if after.pixel_values is not None:
            assert after.pixel_values.isfinite().all()


def test_frames_come_from_the_part_of_the_video_that_a_row_is_about(
    tmp_path: Path, write_store: WriteStore, write_video: WriteClip
) -> None:
    """30 frames in 3 seconds, the first second black, the second grey, the third white."""
    (tmp_path / "media").mkdir()
    write_video(tmp_path / "media/video.avi", [Image.new("RGB", (32, 32), (n // 10 * 100,) * 3) for n in range(30)])
    spans = [(0.0, 1.0), (1.0, 2.0), (2.0, math.inf), (0.4, 2.4), None, (7.0, 8.0)]
    rows = [row(n, 4, video="video.avi", media_lengths=[2], span=span) for n, span in enumerate(spans)]
    write_store(tmp_path / "merged", rows)
    data = data_of(tmp_path, max_steps=None, epochs=1.0)
    found = {sample.number: sample for sample in data.reader.pack(np.arange(len(spans)))}
    levels = {number: [round(float(frame.mean())) for frame in sample.frames] for number, sample in found.items()}
    assert [levels[n] for n in range(5)] == [[0, 0], [100, 100], [200, 200], [0, 100], [0, 200]]
    assert [found[n].failure for n in range(5)] == [None] * 5
    assert "7 to 8 s holds none of its frames" in (found[5].failure or "")


def test_an_image_that_is_written_out_in_its_record_is_read(tmp_path: Path, write_store: WriteStore) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (9, 9), (70, 70, 70)).save(buffer, "PNG")
    (tmp_path / "media").mkdir()
    Image.new("RGB", (9, 9), (190, 190, 190)).save(tmp_path / "media/1.png")
    uri = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    cut = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()[:30]).decode()}"
    rows = [row(0, 4, image=[uri, "1.png"], media_lengths=[1, 1]), row(1, 4, image=[cut], media_lengths=[1])]
    write_store(tmp_path / "merged", rows)
    whole, damaged = data_of(tmp_path).reader.pack(np.arange(2))
    assert whole.frames is not None
    assert [round(float(frame.mean())) for frame in whole.frames] == [70, 190]
    assert (whole.failure, len(damaged.media or "") < 80) == (None, True)
    assert "not a readable image" in (damaged.failure or "")


def test_too_long_samples_are_cut_at_the_end_or_left_out(tmp_path: Path, write_store: WriteStore) -> None:
    image = {"image": ["none.png"], "media_lengths": [1]}
    rows = [row(0, 30), row(1, 10), row(2, 100, **image), row(3, 5, image=["a"] * 9, media_lengths=[1] * 9)]
    late = row(4, 60)
    rows.append(late._replace(labels=np.where(np.arange(60) < 50, IGNORE_INDEX, late.labels).astype(np.int32)))
    write_store(tmp_path / "merged", rows)

    cut = data_of(tmp_path)
    assert cut.corpus.too_much.cut == 2
    assert cut.corpus.too_long.tolist() == [3]
    assert [line.id for line in cut.corpus.rejections()] == ["r3"]
    notes = cut.corpus.notes()
    assert notes[0] == "2 samples are too long for a pack of 40 tokens and 8 frames: their last answer is cut"
    assert notes[1].startswith("1 samples are left out, too long for a pack of 40 tokens and 8 frames;")
    assert "of 1 alone are too much, up to 27 tokens or 9 frames, and a medium is never cut" in notes[1]
    batches = flat(list(cut.batches(0, 1)))
    rejected = {line.sample: line for batch in batches for line in batch.rejected}
    assert set(rejected) == {2, 4}
    assert rejected[2].media == "['none.png']"
    assert rejected[4].media is None
    assert "no target token is left" in rejected[4].reason
    seen = {number: ids for batch in batches for number, (ids, *_) in samples_of(batch).items()}
    assert [len(seen[number]) for number in range(3)] == [30, 10, 40]

    left_out = data_of(tmp_path, too_long="reject")
    assert left_out.corpus.too_long.tolist() == [2, 3, 4]
    assert {number for batch in flat(list(left_out.batches(0, 1))) for number in batch.sample_ids} == {0, 1}


def test_few_steps_are_told_with_how_there_would_be_more(tmp_path: Path, write_store: WriteStore) -> None:
    write_store(tmp_path / "merged", [row(number, 40) for number in range(6)])  # a pack each
    (note,) = data_of(tmp_path, global_batch_packs=4, epochs=2).notes()
    assert note.startswith("3 steps are few to learn in")
    assert "--set train.global_batch_packs=1 (12 steps)" in note
    assert "global_batch_packs" not in data_of(tmp_path, global_batch_packs=1).notes()[0]
    assert data_of(tmp_path, global_batch_packs=1, epochs=17).notes() == []  # 102
    assert data_of(tmp_path, max_steps=1).notes() == []


@pytest.mark.slow
def test_validation_samples_are_never_trained_on_and_arrive_once_in_validation(workspace: Path) -> None:
    data = data_of(workspace, validation_share=0.2, epochs=2)
    validation = set(data.corpus.validation.tolist())
    assert len(validation) == 6
    trained = Counter(number for batch in flat(list(data.batches(0, 1))) for number in batch.sample_ids)
    assert trained == {number: 2 for number in range(30) if number not in validation}
    ranks = [flat(list(data.validation_batches(rank, 2))) for rank in range(2)]
    assert len(ranks[0]) == len(ranks[1])
    measured = [number for batches in ranks for batch in batches for number in batch.sample_ids]
    assert sorted(measured) == sorted(validation)
    other_seed = data_of(workspace, validation_share=0.2, seed=5)
    assert set(other_seed.corpus.validation.tolist()) == validation


@pytest.mark.slow
@pytest.mark.parametrize(("weight", "expected"), [(2.0, {2: 30}), (1.5, {1: 15, 2: 15}), (0.5, {1: 15})])
def test_a_weight_repeats_a_data_set_that_often(workspace: Path, weight: float, expected: dict[int, int]) -> None:
    data = data_of(workspace, weight)
    taken = Counter(number for batch in flat(list(data.batches(0, 1))) for number in batch.sample_ids)
    assert Counter(taken.values()) == expected


@pytest.mark.slow
def test_two_epochs_of_half_a_data_set_take_all_of_it(workspace: Path) -> None:
    data = data_of(workspace, 0.5, epochs=2)
    taken = [number for batch in flat(list(data.batches(0, 1))) for number in batch.sample_ids]
    assert sorted(taken) == list(range(30))


def test_samples_are_numbered_through_all_folders(workspace: Path, write_store: WriteStore) -> None:
    write_store(workspace / "second", [row(7, 8, image=["0.png"], media_lengths=[1])], "elsewhere")
    (workspace / "elsewhere").mkdir()
    Image.new("RGB", (28, 28), (250,) * 3).save(workspace / "elsewhere" / "0.png")
    stores = [WeightedStore(workspace / name, workspace) for name in ("merged", "second")]
    data = TrainingData(stores, replace(PLAN, batching="padded"), token_counts=TOKENS, image_token_id=IMAGE)
    batches = {batch.sample_ids[0]: batch for batch in flat(list(data.batches(0, 1))) if batch.sample_ids}
    assert sorted(batches) == list(range(31))
    last, first = batches[30].pixel_values, batches[10].pixel_values
    assert last is not None
    assert first is not None
    assert last.mean() > 1.5
    assert first.mean() < 0
    overridden = [WeightedStore(workspace / "second", workspace, media_root=workspace / "media")]
    data = TrainingData(overridden, PLAN, token_counts=TOKENS, image_token_id=IMAGE)
    (step,) = data.batches(0, 1)
    assert step[0].pixel_values is not None
    assert step[0].pixel_values.mean() < 0


def test_lengths_are_known_without_reading_a_row(workspace: Path) -> None:
    data = data_of(workspace)
    for batch in flat(list(data.batches(0, 1))):
        for number, (ids, *_) in samples_of(batch).items():
            assert data.corpus.lengths[number] == len(ids)


def test_max_steps_decide_alone_and_epochs_are_counted(workspace: Path) -> None:
    data = data_of(workspace, max_steps=7)
    assert data.total_steps == 7
    assert len(list(data.batches(0, 1))) == 7
    packs = data.packs_in_epoch
    assert data.epoch_after(3) == pytest.approx(12 / packs)
    part = data_of(workspace, epochs=0.5)
    assert part.total_packs == -(-packs // 2)


def test_a_global_batch_that_does_not_divide_is_refused_at_once(workspace: Path) -> None:
    with pytest.raises(UsageError, match=r"train\.global_batch_packs is 4, which 3 processes"):
        data_of(workspace).batches(0, 3)


@pytest.mark.slow
def test_a_worker_that_is_killed_is_an_error_of_the_machine(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MicroBatches, "__getitem__", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(HostError, match="a process that reads training data ended") as caught:
        list(data_of(workspace, workers=1).batches(0, 1))
    assert caught.value.exit_code == 4


LEAVE_IN_THE_MIDDLE = """
import sys
from pathlib import Path
from aurora_cli.data.batches.corpus import WeightedStore
from aurora_cli.data.batches.selection import PackBudget
from aurora_cli.data.batches.training_data import BatchPlan, TrainingData
from aurora_cli.models.merge_plan import FrameTokenCounts
workspace = Path(sys.argv[1])
plan = BatchPlan(PackBudget(4096, 256), 28, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), max_steps=1000, workers=2)
tokens = FrameTokenCounts(merged=3, first=9)
data = TrainingData([WeightedStore(workspace / "merged", workspace)], plan, token_counts=tokens, image_token_id=0)
steps = data.batches(0, 1)
print(len(next(steps)))
"""


@pytest.mark.slow
def test_a_program_that_ends_in_the_middle_does_not_wait_for_its_workers(workspace: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LEAVE_IN_THE_MIDDLE, str(workspace)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "16\n", "")


def test_an_error_in_a_worker_keeps_its_words(workspace: Path) -> None:
    data = data_of(workspace, workers=1)
    (workspace / "merged" / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"^\S+/merged: is no token store: manifest.json is missing") as caught:
        list(data.batches(0, 1))
    assert caught.value.hint == "aurora merge-shards"


def test_a_corpus_that_fits_no_pack_is_an_error(workspace: Path) -> None:
    with pytest.raises(DataError, match="none of the 30 samples fits"):
        Corpus.from_stores(
            [WeightedStore(workspace / "merged", workspace)],
            token_counts=TOKENS,
            budget=PackBudget(tokens=2, frames=1),
            too_long="reject",
        )
