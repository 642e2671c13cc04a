"""Every engine, on one process or two, gives the same numbers. A toy model on gloo: the engines are real."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.distributed import toy
from tests.distributed.toy import Options
from tests.run_files import json_lines

ENGINES = ("none", "zero1", "zero2", "zero3", "zero2_offload", "zero3_offload")
TWO_RANKS = {
    "none": Options("", "none"),
    "zero1": Options("", "zero1", trained=("projector",), decay=0.1),
    "zero2": Options("", "zero2"),
    "zero3": Options("", "zero3", micro=2),
    "zero3, text on one rank": Options("", "zero3", text_only_rank=1),
}


def metrics(run_dir: Path) -> list[dict[str, Any]]:
    return json_lines(run_dir / "metrics.jsonl")


def weights(run_dir: Path, step: int) -> dict[str, torch.Tensor]:
    return load_file(run_dir / "checkpoints" / f"step-{step:08d}" / "model.safetensors")


def order_hash(run_dir: Path, step: int) -> str:
    return json.loads((run_dir / "checkpoints" / f"step-{step:08d}" / "checkpoint.json").read_text())["order_hash"]


def assert_same_run(one: Path, other: Path, steps: int, tolerance: float = 1e-5) -> None:
    ones, others = metrics(one), metrics(other)
    assert [line["step"] for line in ones] == [line["step"] for line in others] == list(range(1, steps + 1))
    for a, b in zip(ones, others, strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=tolerance)
        assert a["grad_norm"] == pytest.approx(b["grad_norm"], abs=tolerance)
        assert [a[key] for key in ("lr", "samples", "tokens", "taught_tokens", "fill")] == [
            b[key] for key in ("lr", "samples", "tokens", "taught_tokens", "fill")
        ]
    assert order_hash(one, steps) == order_hash(other, steps)
    ours, theirs = weights(one, steps), weights(other, steps)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], atol=tolerance, rtol=0)


def run_all(folder: Path, runs: dict[str, Options], **changes: Any) -> dict[str, Path]:
    """The runs, in one set of processes, each in a folder of its own."""
    chosen = [replace(one, run_dir=str(folder / name), **changes) for name, one in runs.items()]
    toy.run(*chosen)
    return {name: folder / name for name in runs}


@pytest.fixture(scope="module")
def one_rank(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    runs = {
        "none": Options(""),
        "zero2": Options("", "zero2", micro=2),
        "zero1": Options("", "zero1", trained=("projector",), decay=0.1),
    }
    return run_all(tmp_path_factory.mktemp("one"), runs, steps=4)


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return run_all(tmp_path_factory.mktemp("two"), TWO_RANKS, steps=4, processes=2)


@pytest.mark.parametrize("engine", ["none", "zero2", "zero3"])
def test_two_ranks_are_one_rank(engine: str, one_rank: dict[str, Path], two_ranks: dict[str, Path]) -> None:
    assert_same_run(two_ranks[engine], one_rank["none"], 4)


def test_an_engine_on_one_process_and_a_larger_micro_batch_change_nothing(one_rank: dict[str, Path]) -> None:
    assert_same_run(one_rank["zero2"], one_rank["none"], 4)


def test_only_the_trained_part_is_in_the_checkpoint_and_all_of_it_changes(
    one_rank: dict[str, Path], two_ranks: dict[str, Path]
) -> None:
    torch.manual_seed(0)
    before = toy.Toy().part_parameters("projector")
    after = weights(two_ranks["zero1"], 4)
    assert after.keys() == before.keys()
    assert all(not torch.equal(after[name], before[name]) for name in after)
    assert_same_run(two_ranks["zero1"], one_rank["zero1"], 4)


def test_a_rank_without_images_does_not_hang_the_others(two_ranks: dict[str, Path]) -> None:
    assert len(metrics(two_ranks["zero3, text on one rank"])) == 4


@pytest.mark.soak
@pytest.mark.parametrize("micro", [1, 2])
def test_twenty_steps_of_every_engine_are_the_same(micro: int, tmp_path: Path) -> None:
    reference = run_all(tmp_path / "reference", {"none": Options("")}, steps=20)["none"]
    runs = {engine: Options("", engine, micro=micro) for engine in ENGINES}
    for name, run_dir in run_all(tmp_path / "two", runs, steps=20, processes=2).items():
        print(name)
        assert_same_run(run_dir, reference, 20)


@pytest.mark.soak
def test_two_hundred_steps_with_text_on_one_rank_do_not_hang(tmp_path: Path) -> None:
    runs = {engine: Options("", engine, text_only_rank=1) for engine in ("none", "zero2", "zero3")}
    for run_dir in run_all(tmp_path, runs, steps=200, every=200, processes=2).values():
        assert all(line["loss"] < 10 for line in metrics(run_dir))
