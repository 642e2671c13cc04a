"""Scores of captions on two processes, under each engine: those of one process, and no number is another for them."""

from pathlib import Path
from typing import Any

import pytest

from aurora_cli.config.settings import Settings
from aurora_cli.runs.lines import CAPTION_SCORES
from tests.distributed import campaign
from tests.distributed.tiny_workspace import make, settings
from tests.run_files import json_lines

ENGINES = ("none", "zero2", "zero3")


def stage(root: Path, run: str, engine: str, every: int) -> Settings:
    chosen = settings(
        root,
        "language",
        after=None,
        run_dir=f"runs/{run}",
        deepspeed=engine,
        max_steps=3,
        num_processes=None,
        trackers=[],
        samples_every=0,
        evaluate_every=every,
        evaluate_samples=7,
    )
    tree = chosen.model_dump(mode="json")
    tree["data"]["validation_share"] = 0.4
    return Settings.model_validate(tree)


def lines(root: Path, run: str) -> list[dict[str, Any]]:
    return json_lines(root / "runs" / run / "metrics.jsonl")


def numbers(root: Path, run: str) -> list[tuple[float, float, float]]:
    return [(line["loss"], line["grad_norm"], line.get("validation_loss", 0.0)) for line in lines(root, run)]


def scores(root: Path, run: str) -> list[list[float]]:
    return [[line[name] for name in CAPTION_SCORES] for line in lines(root, run) if "cider" in line]


@pytest.mark.slow
def test_every_engine_evaluates_the_same_captions_and_trains_as_without(tmp_path: Path) -> None:
    """Seven captions: one rank has four to write and the other three."""
    root = tmp_path / "workspace"
    make(root, "language", images=16, videos=4, texts=4)
    pairs = [stage(root, f"{engine}-{every}", engine, every) for engine in ENGINES for every in (1, 0)]
    campaign.run(pairs, 2, tmp_path / "two")
    campaign.run([stage(root, "alone", "none", 1)], 1, tmp_path / "one")
    expected = scores(root, "alone")
    assert len(expected) == 3
    assert [line["evaluated_captions"] for line in lines(root, "alone")] == [7, 7, 7]
    for engine in ENGINES:
        assert numbers(root, f"{engine}-1") == numbers(root, f"{engine}-0"), engine
        assert scores(root, f"{engine}-1") == [pytest.approx(one, abs=1e-9) for one in expected], engine
