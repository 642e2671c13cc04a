"""A training at several kept ratios: the same on one process and on two, stopped and not, packed and padded."""

import json
from pathlib import Path
from typing import Any

import pytest

from aurora_cli.config.settings import Settings
from tests.distributed import campaign
from tests.distributed.tiny_workspace import make, settings
from tests.run_files import json_lines

pytestmark = pytest.mark.slow

THREE = {"ratios": [0.25, 0.5, 1.0], "weights": [2, 1, 1]}
STEPS = 6


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("mixture")
    make(workspace, "language", images=40, videos=12, texts=12)
    return workspace


def run_of(root: Path, name: str, mixture: dict[str, Any], batching: str = "packed", **train: Any) -> Settings:
    data = [str(path) for path in sorted((root / "tokenized/language").glob("*/merged"))]
    how = {
        "after": None,
        "samples_every": 0,
        "data": data,
        "num_processes": None,
        "run_dir": f"runs/{name}",
        **train,
    }
    tree = settings(root, "language", **how).model_dump(mode="json")
    tree["merging"]["kept_ratio"] = mixture
    tree["data"] |= {"validation_share": 0.1, "batching": batching}
    tree["checkpoint"] |= {"every": 2, "keep": 9}
    return Settings.model_validate(tree)


def lines(root: Path, name: str) -> list[dict[str, Any]]:
    return json_lines(root / "runs" / name / "metrics.jsonl")


def order_hash(root: Path, name: str) -> str:
    return json.loads((root / "runs" / name / "finished.json").read_text())["order_hash"]


def assert_same(root: Path, one: str, other: str) -> None:
    ours, theirs = lines(root, one), lines(root, other)
    assert [line["step"] for line in ours] == [line["step"] for line in theirs] == list(range(1, len(ours) + 1))
    for a, b in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys()
        for key in ("loss", "validation_loss", "grad_norm", "validation_loss_by_ratio", "distill_loss"):
            assert a.get(key) == pytest.approx(b.get(key), abs=1e-5), (one, a["step"], key)
        for key in ("kept_ratio", "samples", "tokens", "visual_tokens", "taught_tokens", "validation_samples"):
            assert a.get(key) == b.get(key), (one, a["step"], key)


def test_one_process_with_two_is_two_processes_with_one_and_a_run_goes_on_with_either(
    root: Path, tmp_path: Path
) -> None:
    """Under no engine, ZeRO-2 and ZeRO-3; the run goes on in the middle of its first epoch."""
    alone = run_of(root, "alone", THREE, max_steps=STEPS, micro_batch_packs=2)
    engines = ("none", "zero2", "zero3")
    together = [run_of(root, engine, THREE, max_steps=STEPS, deepspeed=engine) for engine in engines]
    campaign.run([alone], 1, tmp_path / "one")
    campaign.run(together, 2, tmp_path / "two")
    for engine in engines:
        assert_same(root, engine, "alone")
        assert order_hash(root, engine) == order_hash(root, "alone")
    whole = lines(root, "alone")
    assert {line["kept_ratio"] for line in whole} == {0.25, 0.5, 1.0}
    assert whole[1]["epoch"] < 1.0
    assert [*whole[-1]["validation_loss_by_ratio"]] == ["0.25", "0.5", "1"]

    begun = root / "runs/zero3/checkpoints/step-00000002"
    on = run_of(root, "zero3", THREE, max_steps=STEPS, micro_batch_packs=2, deepspeed="none", resume=str(begun))
    campaign.run([on], 1, tmp_path / "on")
    assert_same(root, "zero3", "alone")
    assert order_hash(root, "zero3") == order_hash(root, "alone")
    saved = json.loads((root / "runs/zero3/checkpoints/step-00000006/checkpoint.json").read_text())
    assert (saved["merging"]["kept_ratio"], saved["trained_ratios"]) == (1.0, [0.25, 0.5, 1.0])


def test_all_samples_of_a_ratio_in_one_pack_train_as_each_in_a_row_of_its_own(root: Path, tmp_path: Path) -> None:
    """Of 58 samples each of two ratios has 29 an epoch: a step is all of them."""
    half = {"ratios": [0.25, 1.0]}
    room: dict[str, Any] = {"pack_tokens": 4096, "pack_frames": 256, "max_steps": 4}
    packed = run_of(root, "packed", half, global_batch_packs=1, **room)
    padded = run_of(root, "padded", half, "padded", global_batch_packs=29, **room)
    campaign.run([packed, padded], 1, tmp_path)
    assert_same(root, "padded", "packed")
    assert [line["samples"] for line in lines(root, "packed")] == [29] * 4
    assert sorted(line["kept_ratio"] for line in lines(root, "packed")[:2]) == [0.25, 1.0], "each once an epoch"


def test_what_small_ratios_learn_from_a_large_one_is_the_same_on_one_process_and_on_two_and_after_a_stop(
    root: Path, tmp_path: Path
) -> None:
    """Of the distribution's distance, too, which only steps below the ratio have; the validation is as without."""
    how: dict[str, Any] = {"max_steps": STEPS, "distill_ratio": 1.0, "distill_weight": 2.0, "distill_temperature": 1.5}
    alone = run_of(root, "taught-alone", THREE, micro_batch_packs=2, **how)
    engines = ("none", "zero2", "zero3")
    together = [run_of(root, f"taught-{engine}", THREE, deepspeed=engine, **how) for engine in engines]
    campaign.run([alone], 1, tmp_path / "one")
    campaign.run(together, 2, tmp_path / "two")
    whole = lines(root, "taught-alone")
    for engine in engines:
        assert_same(root, f"taught-{engine}", "taught-alone")
    for line in whole:
        assert ("distill_loss" in line) == (line["kept_ratio"] < 1.0)
        assert line.get("distill_loss", 1.0) > 0.0

    begun = root / "runs/taught-zero3/checkpoints/step-00000002"
    on = run_of(root, "taught-zero3", THREE, micro_batch_packs=2, deepspeed="none", resume=str(begun), **how)
    campaign.run([on], 1, tmp_path / "on")
    assert_same(root, "taught-zero3", "taught-alone")
