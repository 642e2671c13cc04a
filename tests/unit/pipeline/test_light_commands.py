"""Commands that compute nothing import nothing heavy: they answer in a fraction of a second."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

WORKSPACE = Path(__file__).parents[2] / "fixtures" / "workspace-0.1.0"
HEAVY = ("torch", "transformers", "accelerate", "deepspeed", "datasets", "decord", "av", "matplotlib", "peft")
CODE = """
import json, sys
from aurora_cli.cli.app import run
code = run(sys.argv[1:])
print(json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]), file=sys.stderr)
"""
LIGHT = (
    "train --stage language --max-steps 3 --token-kept-ratio 0.5",  # all its steps are done
    "train --stage language --max-steps 3 --token-kept-ratio 0.5 --dry-run",
    "train --stage vision --resume never --set train.trackers=[tensorboard] --dry-run",
    "train --stage projection --dry-run",  # which has no data
    "presets",
    "doctor",
    "inspect data",
    "inspect data/language/llava_mix/llava_mix.jsonl",
    "inspect runs/language",
    "inspect tokenized/language/llava_mix/merged",
    "download --dry-run --repo .",
    "merge-tars --dry-run",
    "extract --dry-run",
    "import data/language/llava_mix/llava_mix.jsonl --as mine --dry-run",
    "merge-shards --dry-run",
    "convert --dry-run",
)


@pytest.mark.slow
@pytest.mark.parametrize("command", LIGHT)
def test_it_imports_no_heavy_library(command: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RANK", "WORLD_SIZE"))}
    done = subprocess.run(
        [sys.executable, "-c", CODE, *command.split()],
        cwd=WORKSPACE,
        env={**environment, "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    code, modules = json.loads(done.stderr.splitlines()[-1])
    assert code in (0, 3), done.stderr
    assert not set(HEAVY) & set(modules), f"aurora {command}"
