"""The losses of 20 optimizer steps of the tiny preset, stage after stage, on data that are made here.

`python -m tests.distributed.loss_curves` writes `tests/golden/losses/` anew: only where numbers are meant to change.
`python -m tests.distributed.loss_curves --print` writes nothing and prints them, to see how far another machine is off.
"""

import json
import os
import platform
import sys
import tempfile
from pathlib import Path

from aurora_cli.config.resolve import resolve
from aurora_cli.constants import STAGES
from aurora_cli.pipeline.train import command as train
from aurora_cli.runs.layout import METRICS_FILE
from aurora_cli.runs.lines import MetricsLine, read_lines
from tests.distributed.tiny_workspace import make

GOLDEN = Path(__file__).parents[1] / "golden" / "losses"
STEPS = 20
OVERRIDES = {"train.max_steps": STEPS, "train.deepspeed": "none", "train.precision": "fp32", "data.workers": 0}
"""Of the preset: in this process, and without an engine, whose losses are compared with these elsewhere."""
_RATE = {"lr": 2.0e-3}
PRESET_THEN: dict[str, dict[str, object]] = {
    "language": {
        "merging.kept_ratio": 0.5,
        "train.projector": _RATE,
        "train.vision_tower": _RATE,
        "train.language_model": _RATE,
        "train.global_batch_packs": 12,
        "train.micro_batch_packs": 6,
    }
}
"""What the preset said when they were written, and says otherwise today."""


def losses(workspace: Path) -> dict[str, list[float]]:
    """By stage, of a run of all stages in an empty folder."""
    curves: dict[str, list[float]] = {}
    for stage in STAGES:
        make(workspace, stage, images=64, videos=24, texts=16)
        then = PRESET_THEN.get(stage, {})
        given = {"workspace": workspace, "preset": "tiny", "train.stage": stage, **OVERRIDES, **then}
        settings = resolve({path: (path, value) for path, value in given.items()}, environment={}).settings
        train.run(settings)
        curves[stage] = [line.loss for line in read_lines(workspace / "runs" / stage / METRICS_FILE, MetricsLine)]
    return curves


def golden(stage: str) -> list[float]:
    return json.loads((GOLDEN / f"{stage}.json").read_text(encoding="utf-8"))["losses"]


def main() -> None:
    import torch
    import transformers

    with tempfile.TemporaryDirectory() as folder:
        curves = losses(Path(folder))
    if "--print" in sys.argv:
        print(json.dumps(curves))
        return
    made = {
        "preset": "tiny",
        "settings": OVERRIDES,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "machine": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "command": "python -m tests.distributed.loss_curves",
    }
    GOLDEN.mkdir(exist_ok=True)
    for stage, curve in curves.items():
        text = json.dumps({"stage": stage, "made": made, "losses": curve}, indent=1)
        (GOLDEN / f"{stage}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
