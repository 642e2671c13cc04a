"""`aurora train --plan`: its numbers against those of the run that it plans."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from aurora_cli.config.merging import MergingSettings
from aurora_cli.config.settings import Settings
from aurora_cli.pipeline.train import command as train
from aurora_cli.pipeline.train.estimate.estimate import estimate_stage
from aurora_cli.pipeline.train.estimate.result import TrainEstimate
from aurora_cli.training import costs
from tests.distributed.tiny_workspace import make, settings
from tests.run_files import json_lines

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("plan")
    make(workspace)
    return workspace


def requested(root: Path, **changes: Any) -> Settings:
    """One and a half epochs of everything, from random weights."""
    return settings(root, "language", **{"after": None, "max_steps": None, "epochs": 1.5, "plan": True, **changes})


def test_tokens_and_steps_are_those_of_the_run_that_follows(root: Path) -> None:
    plan = train.run(requested(root, epochs=1.0))
    assert isinstance(plan, TrainEstimate)
    assert not (root / "runs").exists()
    train.run(requested(root, epochs=1.0, plan=False))
    lines = json_lines(root / "runs/language/metrics.jsonl")
    data = plan.data
    assert data is not None
    assert data.steps == len(lines)
    assert data.samples == sum(line["samples"] for line in lines) == 40
    assert data.visual_tokens == sum(line["visual_tokens"] for line in lines)
    assert data.text_tokens + data.visual_tokens == sum(line["tokens"] for line in lines)


def test_parameters_of_each_part_are_counted_and_those_that_are_trained(root: Path) -> None:
    plan = estimate_stage(requested(root, vision_tower=None), 1)
    parts = {part.name: part for part in plan.parts}
    # two layers between 16, 33 and 33: 16 x 33 + 33 and 33 x 33 + 33
    assert parts["projector"].parameters == parts["projector"].trained == 16 * 33 + 33 + 33 * 33 + 33
    assert parts["vision_tower"].trained == 0 < parts["vision_tower"].parameters
    adapted = estimate_stage(requested(root, lora={"language_model": {"rank": 2, "targets": ["q_proj"]}}), 1)
    # two layers, 33 -> 3 heads of 8: 2 x 33 and 24 x 2
    assert next(part.trained for part in adapted.parts if part.name == "language_model") == 2 * (2 * 33 + 24 * 2)


def test_a_longer_run_takes_more_of_everything_in_proportion(root: Path) -> None:
    once, twice = estimate_stage(requested(root, epochs=1.0), 1), estimate_stage(requested(root, epochs=2.0), 1)
    assert once.flops is not None
    assert twice.flops == pytest.approx(2 * once.flops)
    assert twice.hours == pytest.approx(2 * (once.hours or 0))
    assert twice.checkpoint_bytes == once.checkpoint_bytes == 12 * sum(part.trained for part in once.parts)


def test_samples_that_do_not_go_in_as_they_are_are_counted(root: Path) -> None:
    whole = estimate_stage(requested(root), 1).data
    assert whole is not None
    assert [note for note in whole.notes if "few to learn" not in note] == []
    cut = estimate_stage(requested(root, pack_tokens=40), 1)
    assert cut.data is not None
    assert any("samples are too long for a pack of 40 tokens" in note for note in cut.data.notes)
    assert set(cut.data.notes) <= set(cut.lines())


def test_samples_that_no_pack_holds_are_said_with_what_to_change(root: Path) -> None:
    """A pack of two frames holds no video of three."""
    plan = estimate_stage(requested(root, pack_frames=2), 1)
    assert plan.data is not None
    assert plan.data.left_out == 8
    assert any(line.startswith("8 samples are left out") and "train.pack_frames" in line for line in plan.lines())


def test_memory_is_compared_with_the_machines(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    enough = estimate_stage(requested(root), 1)
    assert enough.device_memory is not None
    assert enough.device_memory >= 1 << 30
    assert f"this machine has {enough.device_memory / 1e9:,.1f} GB" in enough.lines()
    monkeypatch.setattr("aurora_cli.pipeline.train.estimate.estimate.device_memory", lambda *, cuda: 10**8)
    assert any(
        "this machine has 0.1 GB, TOO LITTLE for the" in line for line in estimate_stage(requested(root), 1).lines()
    )


def test_on_a_cpu_time_is_by_what_it_was_seen_to_do_and_by_the_setting_where_there_is_one(root: Path) -> None:
    measured = estimate_stage(requested(root), 1)
    assert measured.flops_per_s is not None
    assert measured.flops is not None
    assert 1e8 < measured.flops_per_s < 1e13  # from one slow core to hundreds
    assert measured.hours == pytest.approx(measured.flops / measured.flops_per_s / 3600)
    said = estimate_stage(requested(root, flops_per_s=measured.flops / 1800), 1)
    assert any(" 30.0 min at " in line for line in said.lines())


def test_without_data_the_network_is_estimated_all_the_same(tmp_path: Path) -> None:
    plan = estimate_stage(requested(tmp_path), 2)
    assert plan.data is None
    assert plan.problem is not None
    assert "no merged shards" in plan.problem
    assert plan.memory["zero3"].states < plan.memory["zero1"].states
    assert list(tmp_path.iterdir()) == []


def test_while_loading_each_process_takes_the_whole_network_and_under_zero3_its_share(root: Path) -> None:
    whole = estimate_stage(requested(root, deepspeed="zero2"), 2)
    assert whole.loading_memory == 4 * sum(part.parameters for part in whole.parts)
    shared = estimate_stage(requested(root, deepspeed="zero3"), 2)
    assert shared.loading_memory == whole.loading_memory // 2
    assert estimate_stage(requested(root, deepspeed="zero3"), 1).loading_memory == whole.loading_memory
    assert any(line.startswith("main memory while weights are loaded: 0.0 GB a process") for line in shared.lines())


def test_weights_stay_on_the_device_where_a_file_offloads_the_optimizer_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In bf16, two bytes of each: the half of two processes, and the gradients on their way; nothing gathered here."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "a device")
    monkeypatch.setattr(costs, "GATHERED", 0)
    zero = {"stage": 3, "offload_optimizer": {"device": "cpu"}}
    (tmp_path / "mine.json").write_text(json.dumps({"zero_optimization": zero}))
    mine, both = (
        estimate_stage(requested(tmp_path, deepspeed=engine, precision="bf16"), 2)
        for engine in ("mine.json", "zero3_offload")
    )
    weights, trained = (sum(getattr(part, what) for part in mine.parts) for what in ("parameters", "trained"))
    assert both.memory["zero3"].states == 2 * trained
    assert mine.memory["zero3"].states == 2 * (weights // 2 + trained)


@pytest.mark.parametrize("engine", ["none", "zero2"])
def test_its_memory_is_within_a_fifth_of_the_runs(engine: str, root: Path) -> None:
    tree = requested(root, plan=False).model_dump(mode="json", include={"model", "merging", "train", "data"})
    tree["train"] |= {"epochs": 1.0, "deepspeed": engine, "run_dir": f"runs/{engine}"}
    (root / "aurora.yaml").write_text(yaml.safe_dump(tree))
    command = [sys.executable, "-m", "aurora_cli", "train", "--stage", "language", "--workspace", str(root), "--json"]
    told = [
        subprocess.run([*command, *more], capture_output=True, text=True, check=True).stdout
        for more in (["--plan"], [])
    ]
    planned = json.loads(told[0])["memory_mb"]
    lines = (root / f"runs/{engine}/metrics.jsonl").read_text().splitlines()
    assert planned == pytest.approx(json.loads(lines[-1])["max_mem_mb"], rel=0.2)


def test_a_mixture_of_kept_ratios_is_priced_as_what_its_ratios_cost_by_their_weights(root: Path) -> None:
    """All fit at both: a quarter of the samples at 1, of 16 tokens a frame, the others at 0.25, of 4."""

    def plan_at(kept_ratio: Any, **train: Any) -> TrainEstimate:
        one = requested(root, epochs=3.0, pack_tokens=256, **train)
        return estimate_stage(one.model_copy(update={"merging": MergingSettings(kept_ratio=kept_ratio)}), 1)

    few, all_, mixed = map(plan_at, (0.25, 1.0, {"ratios": [0.25, 1.0], "weights": [3, 1]}))
    assert few.data is not None
    assert all_.data is not None
    assert mixed.data is not None
    assert few.flops is not None
    assert all_.flops is not None
    expected = round(0.75 * few.data.visual_tokens + 0.25 * all_.data.visual_tokens)
    assert (mixed.data.visual_tokens, mixed.data.text_tokens) == (expected, few.data.text_tokens)
    assert mixed.flops == pytest.approx(0.75 * few.flops + 0.25 * all_.flops)
    assert (mixed.hours or 0) * (mixed.flops_per_s or 0) * 3600 == pytest.approx(mixed.flops)
    assert few.data.packs <= mixed.data.packs <= all_.data.packs
    assert mixed.data.steps_by_ratio is not None
    assert [*mixed.data.steps_by_ratio] == ["0.25", "1"]
    assert sum(mixed.data.steps_by_ratio.values()) == mixed.data.steps
    assert any(line.startswith("steps by kept ratio: ") for line in mixed.lines())
    assert few.data.steps_by_ratio is None

    taught = plan_at({"ratios": [0.25, 1.0], "weights": [3, 1]}, distill_ratio=1.0)
    assert taught.flops == pytest.approx(mixed.flops + 0.75 * all_.flops / 3), "three quarters go forwards at 1, too"
