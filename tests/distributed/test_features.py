"""Kept features on two processes, under each engine: the losses are those without, and each reads the others'."""

from pathlib import Path
from typing import Any

import pytest

from aurora_cli.config.settings import Settings
from tests.distributed import campaign
from tests.distributed.tiny_workspace import make, settings
from tests.run_files import json_lines

ENGINES = ("none", "zero2", "zero3")
LORA = {"language_model": {"rank": 3, "targets": ["q_proj", "down_proj"]}}
MEDIA = 16


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """12 images, 4 videos, 6 texts: ranks whose batches have no media, or nothing but what is kept, are among them."""
    workspace = tmp_path_factory.mktemp("features")
    make(workspace, "language", images=12, videos=4, texts=6)
    return workspace


def stage(root: Path, run: str, *, keep: bool, engine: str, **changes: Any) -> Settings:
    """Adapters and the projector, through the data three times."""
    how: dict[str, Any] = {
        "after": None,
        "vision_tower": None,
        "lora": LORA,
        "run_dir": f"runs/{run}",
        "cache_features": keep,
        "deepspeed": engine,
        "max_steps": None,
        "epochs": 3.0,
        "num_processes": None,
        "trackers": [],
        "samples_every": 0,
        **changes,
    }
    chosen = settings(root, "language", **how)
    tree = chosen.model_dump(mode="json")
    tree["data"]["validation_share"] = 0.1
    return Settings.model_validate(tree)


def losses(root: Path, run: str) -> list[tuple[float, float, float]]:
    """Of each step; 0 where no validation loss was measured."""
    lines = json_lines(root / "runs" / run / "metrics.jsonl")
    return [(line["loss"], line.get("validation_loss", 0.0), line["grad_norm"]) for line in lines]


@pytest.mark.slow
def test_two_processes_share_what_they_keep_and_no_engine_shows_it(root: Path, tmp_path: Path) -> None:
    """What the first engine's processes kept, the others' read: then no frame goes through the tower, which all
    ranks must call alike under ZeRO-3."""
    runs = [stage(root, f"plain-{engine}", keep=False, engine=engine) for engine in ENGINES]
    runs.append(stage(root, "first", keep=True, engine="zero3"))
    first = campaign.run(runs, 2, tmp_path / "first")
    assert first["features_encoded"] >= MEDIA
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    kept = [stage(root, "scratch", keep=True, engine="none", scratch=str(scratch))]
    kept += [stage(root, f"kept-{engine}", keep=True, engine=engine) for engine in ENGINES]
    last = campaign.run(kept, 2, tmp_path / "second")
    assert last["features_encoded"] == 0
    assert last["features_read"] >= 3 * MEDIA
    alone = campaign.run([stage(root, "alone", keep=True, engine="none")], 1, tmp_path / "alone")
    assert alone["features_encoded"] == 0
    plain = losses(root, "plain-none")
    assert losses(root, "first") == [pytest.approx(line, rel=1e-5) for line in losses(root, "plain-zero3")]
    for engine in ENGINES:
        assert losses(root, f"kept-{engine}") == [
            pytest.approx(line, rel=1e-5) for line in losses(root, f"plain-{engine}")
        ]
    assert losses(root, "scratch") == [pytest.approx(line, rel=1e-5) for line in plain]
    assert len([*scratch.glob("aurora-*/train/features/*/*.index")]) == 2, "one of each process"
    assert [*scratch.glob("aurora-*/train/plans-*/*"), *root.glob("runs/scratch/.plans")] == []
    assert losses(root, "alone") == [pytest.approx(line, rel=1e-5) for line in plain]
    assert len(list((root / "runs/features").iterdir())) == 1
