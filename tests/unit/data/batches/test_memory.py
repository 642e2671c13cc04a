"""What a training process keeps of each record, and what it takes while it plans: bytes, worked out by hand."""

import tracemalloc
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest

from aurora_cli.config.settings import Settings, TrainSettings
from aurora_cli.config.training import ModuleTraining
from aurora_cli.data.batches import selection
from aurora_cli.data.batches.corpus import Corpus, WeightedStore
from aurora_cli.data.batches.mixture import StepRatio
from aurora_cli.data.batches.packing import plan_packs
from aurora_cli.data.batches.selection import PackBudget, numbers_where
from aurora_cli.data.batches.training_data import BatchPlan, TrainingData
from aurora_cli.data.token_store.schema import MANIFEST, ROW_SCHEMA, SUMMARY_SCHEMA
from aurora_cli.data.token_store.store import Summary
from aurora_cli.data.token_store.writer import BATCH_ROWS, ShardWriter
from aurora_cli.models.merge_plan import FrameTokenCounts
from aurora_cli.pipeline.train.estimate import micro_batches, network
from aurora_cli.pipeline.train.estimate.estimate import amounts_of
from tests.captioners import MODEL
from tests.tokenizing import shard_manifest

FEW, MANY = 20_000, 420_000
IN_PACK = 8
"""Records of 8 tokens in packs of 64."""
PACK_BYTES = 8 + 8
"""Of each pack, where it begins in the plan, and which comes when in the epoch."""


class Bytes(NamedTuple):
    """For each record."""

    kept: float
    most: float


def write_records(folder: Path, number: int) -> None:
    """Records of 8 tokens, each with an image of 1 frame, in batches as `aurora tokenize` writes them."""
    folder.mkdir()
    ones, eights = np.ones(BATCH_ROWS, np.int32), np.full(BATCH_ROWS, 8, np.int32)
    texts, nothing = pa.array(["a"] * BATCH_ROWS), pa.nulls(BATCH_ROWS, pa.string())
    each = np.arange(BATCH_ROWS + 1, dtype=np.int32)
    tokens = pa.ListArray.from_arrays(8 * each, np.ones(8 * BATCH_ROWS, np.int32))
    images, one = pa.ListArray.from_arrays(each, texts), pa.ListArray.from_arrays(each, ones)
    rows = [texts, images, nothing, one, tokens, tokens, pa.array(eights)]
    numbers = [*map(pa.array, (eights, ones, ones, 0 * ones, ones))]
    with ShardWriter(folder) as shard:
        for first in range(0, number, BATCH_ROWS):
            keys = pa.ListArray.from_arrays(each, np.arange(first, first + BATCH_ROWS, dtype=np.uint32))
            summary = [*numbers, keys]
            shard.append(
                pa.RecordBatch.from_arrays(rows, schema=ROW_SCHEMA),
                pa.RecordBatch.from_arrays(summary, schema=SUMMARY_SCHEMA),
            )
    shard_manifest(number).write(folder / MANIFEST)


def plan(folder: Path, ratios: int) -> TrainingData:
    counts = [FrameTokenCounts(merged=ratio, first=ratio) for ratio in range(1, ratios + 1)]
    return TrainingData(
        [WeightedStore(folder, folder)],
        BatchPlan(PackBudget(64, 64), 28, (0.5,) * 3, (0.5,) * 3),
        token_counts=counts[0] if ratios == 1 else [StepRatio(None, each, 1 / ratios) for each in counts],
        image_token_id=1,
    )


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folders = {number: tmp_path_factory.mktemp("stores") / str(number) for number in (FEW, MANY)}
    for number, folder in folders.items():
        write_records(folder, number)
    return folders


def bytes_a_record(stores: dict[int, Path], ratios: int) -> Bytes:
    """By how much the memory for 20,000 and for 420,000 records differs, where a run has so many kept ratios."""
    traced = []
    for folder in stores.values():
        plan(folder, ratios)  # what is imported and remembered is there
        tracemalloc.start()
        data = plan(folder, ratios)
        assert data.packs_in_epoch
        traced.append(tracemalloc.get_traced_memory())
        tracemalloc.stop()
    return Bytes(*((more - less) / (MANY - FEW) for less, more in zip(*traced, strict=True)))


def test_of_a_record_14_bytes_are_kept_and_22_are_taken_while_packs_are_planned(
    stores: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "CHUNK", 1 << 12)  # shows in temporaries that are as long as all records
    tokens, frames, number, in_plan = 2, 2, 4, 4
    kept = tokens + frames + number + in_plan + PACK_BYTES / IN_PACK
    measured = bytes_a_record(stores, 1)
    assert measured.kept == pytest.approx(kept, abs=0.5)
    # The same without the epoch's order: what is planned is taken from the columns, sorted, and dealt out to packs.
    sorted_by_size, pack_sizes = 4, (4 + 4) / IN_PACK
    assert measured.most <= kept - 8 / IN_PACK + tokens + frames + sorted_by_size + pack_sizes + 1


def test_of_a_record_in_a_mixture_of_three_ratios_20_bytes_are_kept(stores: dict[int, Path]) -> None:
    tokens, frames, videos, ratios_that_fit, number, slot, ratio, in_plan = 2, 2, 2, 1, 4, 2, 1, 4
    packs = PACK_BYTES * (1 / 8 + 1 / 7 + 1 / 6) / 3  # an image is 1, 2 or 3 of their tokens
    kept = tokens + frames + videos + ratios_that_fit + number + slot + ratio + in_plan + packs
    assert bytes_a_record(stores, 3).kept == pytest.approx(kept, abs=0.5)


def test_of_a_record_54_bytes_are_taken_while_media_are_kept_apart_for_validation(
    stores: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "CHUNK", 1 << 12)
    peaks = []
    for folder in stores.values():
        tracemalloc.start()
        corpus = Corpus.from_stores(
            [WeightedStore(folder, folder)],
            token_counts=FrameTokenCounts(merged=1, first=1),
            budget=PackBudget(64, 64),
            too_long="cut",
            validation_share=0.1,
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(corpus.validation) == round(0.1 * corpus.starts[-1])
    table, numbers, keys, hashes = 2 + 2 + 1, 4 + 4, 4 + 4, 8 + 8
    begin, size, kind, order = 4, 4, 1, 4 + 4  # of a set, which is a record of its own here
    at_most = table + numbers + keys + hashes + begin + size + kind + order + 1
    assert (peaks[1] - peaks[0]) / (MANY - FEW) <= at_most


@pytest.mark.slow
def test_of_a_record_a_plan_takes_4_bytes_beside_those_of_training(
    stores: dict[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(selection, "CHUNK", 1 << 12)
    monkeypatch.setattr(micro_batches, "LOOKED_AT", 100)  # their samples are held, however many records there are
    train = TrainSettings(pack_tokens=64, pack_frames=64, projector=ModuleTraining(lr=1e-3))
    settings = Settings(workspace=tmp_path, model=MODEL, train=train)
    config = network.config_of(settings)
    model = network.without_weights(config)
    parts = network.parts_of(model, settings)
    peaks = []
    for folder in stores.values():
        plan(folder, 1)
        tracemalloc.start()
        data = plan(folder, 1)
        assert data.packs_in_epoch
        tracemalloc.reset_peak()
        amounts_of(data, config)
        micro_batches.sizes_of(data, settings)
        network.flops_of(model, data, settings, parts)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    kept, visits = 14, 2
    assert (peaks[1] - peaks[0]) / (MANY - FEW) <= kept + visits + 2


def test_summaries_of_samples_are_theirs_wherever_they_stand(
    stores: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = plan(stores[FEW], 1).corpus
    pieces = [(0, [7, 5, 9]), (3, []), (3, [8, 6])]
    summaries = [(start, Summary(*(np.array(lengths, np.int32) * k for k in range(1, 6)))) for start, lengths in pieces]
    monkeypatch.setattr(Corpus, "summaries", lambda _: iter(summaries))
    found = corpus.summary_of(np.array([4, 0, 3, 0, 2]))
    assert found.length.tolist() == [6, 7, 8, 7, 9]
    assert found.target_tokens.tolist() == [30, 35, 40, 35, 45]


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_samples_sorted_by_the_chunk_are_those_of_one_sort(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And numbers of 4 bytes are shuffled as those of 8 are: a run that was begun before goes on as it was."""
    monkeypatch.setattr(selection, "CHUNK", chunk)
    rng = np.random.default_rng(0)
    lengths, frames = rng.integers(1, 6, 200), rng.integers(0, 3, 200)
    order = np.lexsort((frames, lengths))
    shuffler = np.random.default_rng([5, 2])
    for same in np.split(order, np.flatnonzero(np.diff(lengths[order]) | np.diff(frames[order])) + 1):
        shuffler.shuffle(same)  # views of `order`
    packs = plan_packs(lengths, frames, pack_tokens=9, pack_frames=9, batching="grouped", seed=5, epoch=2)
    assert packs.samples.dtype == np.int32
    assert packs.samples.tolist() == order.tolist()


@pytest.mark.parametrize("chunk", [1, 3, 1 << 20])
def test_numbers_are_those_of_what_is_wanted(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "CHUNK", chunk)
    wanted = np.array([True, False, True, True, False, True])
    assert numbers_where(wanted).tolist() == [0, 2, 3, 5]
    assert numbers_where(wanted, slice(1, 4)).tolist() == [2, 3]
    assert numbers_where(wanted, slice(4, None)).tolist() == [5]
    assert numbers_where(wanted, slice(4, 5)).tolist() == []
