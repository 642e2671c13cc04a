"""A run's files for tests, of no network in particular; and how files of lines are read."""

import json
from pathlib import Path
from typing import Any

from aurora_cli.config.merging import TokenMerging
from aurora_cli.config.training import ModelSettings
from aurora_cli.runs.lines import MetricsLine
from aurora_cli.runs.metadata import CheckpointMetadata


def json_lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a JSONL file. A text in it may hold other line ends than `\\n`."""
    return [json.loads(line) for line in path.read_text("utf-8").split("\n") if line]


def metadata(stage: str = "toy", steps: int = 9, trained: tuple[str, ...] = ("projector",)) -> CheckpointMetadata:
    """As before the first step."""
    return CheckpointMetadata(
        stage=stage,
        step=0,
        steps=steps,
        base="runs/toy/initial",
        trained=trained,
        merging=TokenMerging(),
        model=ModelSettings(),
        order_hash="",
    )


def metrics_line(step: int, **given: Any) -> MetricsLine:
    values = {
        "step": step, "epoch": step / 10, "loss": 4.0 / step, "lr": 1e-3, "grad_norm": 1.0, "samples": 8, "tokens": 100,
        "taught_tokens": 25, "visual_tokens": 40, "fill": 0.98, "step_s": 0.5, "tokens_per_s": 200.0,
        "max_mem_mb": 512.0,
    }  # fmt: skip
    return MetricsLine.model_validate(values | given)
