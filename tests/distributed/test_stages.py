"""Every stage of the real network, whole or by adapters, is the same on one process and on two, under every engine."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from aurora_cli.config.settings import Settings
from aurora_cli.errors import DataError
from tests.distributed import campaign, mixed
from tests.distributed.tiny_workspace import STAGES, make, settings
from tests.run_files import json_lines

ENGINES = ("none", "zero1", "zero2", "zero3", "zero2_offload", "zero3_offload")
ADAPTERS = {
    "language_model": {"rank": 3, "alpha": 6.0, "targets": ["q_proj", "down_proj"]},
    "vision_tower": {"rank": 2, "alpha": 2.0},
}
KINDS = (*STAGES, "lora")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    workspace = tmp_path_factory.mktemp("stages")
    make(workspace, "language", images=40, videos=12, texts=12)
    return workspace


def stage(root: Path, kind: str, run: str, batching: str = "packed", **train: Any) -> Settings:
    """A stage's settings on the one set of data, from random weights; `lora` trains adapters and the projector."""
    name = "language" if kind == "lora" else kind
    how = {
        "after": None,
        "samples_every": 2,
        "data": [str(p) for p in sorted((root / "tokenized/language").glob("*/merged"))],
        **train,
    }
    chosen = settings(root, name, **how, run_dir=f"runs/{run}", num_processes=None)
    tree = chosen.model_dump(mode="json")
    tree["data"] |= {"validation_share": 0.1, "batching": batching}
    tree["checkpoint"]["every"] = max(2, tree["train"]["max_steps"] // 2)
    if kind == "lora":
        tree["train"]["lora"] = ADAPTERS
    return Settings.model_validate(tree)


def lines(root: Path, run: str) -> list[dict[str, Any]]:
    return json_lines(root / "runs" / run / "metrics.jsonl")


def captions(root: Path, run: str, step: int) -> list[dict[str, Any]]:
    path = root / "runs" / run / "samples" / f"step-{step:08d}.jsonl"
    return json_lines(path)


def assert_same(root: Path, one: str, other: str, steps: int, tolerance: float = 1e-5) -> None:
    ours, theirs = lines(root, one), lines(root, other)
    assert [line["step"] for line in ours] == [line["step"] for line in theirs] == list(range(1, steps + 1))
    for a, b in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys()
        for key in ("loss", "validation_loss", "grad_norm"):
            assert a.get(key) == pytest.approx(b.get(key), abs=tolerance), (one, a["step"], key)
        for key in ("samples", "tokens", "taught_tokens", "validation_samples"):
            assert a.get(key) == b.get(key), (one, a["step"], key)
    assert {"validation_loss", "validation_samples"} <= ours[-1].keys()


@pytest.mark.parametrize("steps", [4, pytest.param(20, marks=pytest.mark.soak)])
def test_one_process_with_two_is_two_processes_with_one(root: Path, steps: int, tmp_path: Path) -> None:
    """Small: adapters and the whole network under ZeRO-3, each engine once; soak: every stage under every engine."""
    soak = steps > 4
    pairs = [(kind, engine) for kind in KINDS for engine in ENGINES] if soak else [("lora", "none"), ("lora", "zero3")]
    alone = [stage(root, kind, f"{steps}-{kind}", max_steps=steps, micro_batch_packs=2) for kind in KINDS]
    if not soak:
        alone = alone[-1:]
    together = [
        stage(root, kind, f"{steps}-{kind}-{engine}", max_steps=steps, deepspeed=engine) for kind, engine in pairs
    ]
    campaign.run(alone, 1, tmp_path / "one")
    campaign.run(together, 2, tmp_path / "two")
    for kind, engine in pairs:
        assert_same(root, f"{steps}-{kind}-{engine}", f"{steps}-{kind}", steps)
        assert captions(root, f"{steps}-{kind}-{engine}", steps) == captions(root, f"{steps}-{kind}", steps)
        assert len(captions(root, f"{steps}-{kind}", steps)) == 4


@pytest.mark.parametrize("steps", [4, pytest.param(20, marks=pytest.mark.soak)])
def test_all_samples_in_one_pack_train_as_each_in_a_row_of_its_own(root: Path, steps: int, tmp_path: Path) -> None:
    """Every step is the whole set: packed, or padded to the longer of two rows."""
    room: dict[str, Any] = {"pack_tokens": 4096, "pack_frames": 256, "max_steps": steps}
    packed = stage(root, "language", f"{steps}-packed", global_batch_packs=1, **room)
    padded = stage(root, "language", f"{steps}-padded", "padded", global_batch_packs=58, micro_batch_packs=2, **room)
    campaign.run([packed, padded], 1, tmp_path)
    assert_same(root, f"{steps}-padded", f"{steps}-packed", steps)
    assert {line["samples"] for line in lines(root, f"{steps}-packed")} == {58}


def test_too_many_unreadable_media_end_both_processes_and_the_rejects_of_the_step_are_listed(
    root: Path, tmp_path: Path
) -> None:
    """All ranks count together: the run ends in the same step, with the same words."""
    workspace = Path(shutil.copytree(root, tmp_path / "workspace"))
    for image in (workspace / "data/language/images").glob("*.png"):
        image.write_bytes(b"not an image")
    said: list[str] = []
    for processes in (1, 2):
        chosen = stage(workspace, "projection", f"bad-{processes}", max_steps=20, micro_batch_packs=2 // processes)
        with pytest.raises(DataError, match="cannot be read") as caught:
            campaign.run([chosen], processes, tmp_path / str(processes))
        said.append(caught.value.message)
    assert said[0] == said[1]
    unreadable = int(said[0].split()[0])
    one, two = ((workspace / f"runs/bad-{n}/rejected.jsonl").read_text().splitlines() for n in (1, 2))
    assert sorted(one) == sorted(two)
    assert len(one) == unreadable > 1


@pytest.mark.parametrize("steps", [14, pytest.param(200, marks=pytest.mark.soak)])
@pytest.mark.parametrize("slowfast", [False, True])
def test_text_on_one_rank_and_anything_on_the_other_neither_hangs_nor_spoils_the_loss_under_zero3(
    steps: int, slowfast: bool, tmp_path: Path
) -> None:
    assert mixed.run(tmp_path, steps, slowfast)["step"] == steps
    losses = [json.loads(line)["loss"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == steps
    assert all(0 < loss < 20 for loss in losses)
