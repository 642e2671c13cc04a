"""Many real runs of `aurora train`, one after another, in one set of processes: starting them costs more than a run.

`python campaign.py CONFIG...` is one worker.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from aurora_cli.config.resolve import dump_yaml, load_resolved
from aurora_cli.config.settings import Settings
from aurora_cli.console import SILENT, Reporter
from aurora_cli.pipeline.train.process import train_as
from aurora_cli.training.processes import launcher
from aurora_cli.training.processes.ranks import Rank, rank_from_environment
from aurora_cli.training.processes.worker import serve


def run(runs: Sequence[Settings], processes: int, folder: Path) -> dict[str, Any]:
    """Train all of `runs`; what the last one's result says."""
    return run_script([__file__], runs, processes, folder)


def run_script(script: Sequence[str], runs: Sequence[Settings], processes: int, folder: Path) -> dict[str, Any]:
    """Workers that run `script`, with the settings' files behind its own arguments; what rank 0 says."""
    folder.mkdir(parents=True, exist_ok=True)
    configs: list[str] = []
    for number, settings in enumerate(runs):
        config = folder / f"{number}.yaml"
        config.write_text(dump_yaml(settings))
        configs.append(str(config))
    return launcher.run_workers([sys.executable, *script, *configs], processes, logs=folder / "logs", reporter=SILENT)


def work(configs: Sequence[str], rank: Rank, reporter: Reporter) -> dict[str, Any]:
    last: dict[str, Any] = {}
    for config in configs:
        last = asdict(train_as(replace(rank, launcher="aurora"), load_resolved(Path(config)), reporter))
    return last


if __name__ == "__main__":
    own_rank = rank_from_environment() or Rank()
    serve(lambda reporter: work(sys.argv[1:], own_rank, reporter))
