"""`aurora inspect RUN`: how far a training run is. Reads its files alone, so it may be at work."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from aurora_cli.constants import STAGES
from aurora_cli.errors import DataError
from aurora_cli.io.json_files import JsonObject
from aurora_cli.pipeline.result import Result
from aurora_cli.reports.metrics import RunMetrics
from aurora_cli.runs.checkpoints import all_checkpoints, best, newest
from aurora_cli.runs.find import is_run
from aurora_cli.runs.layout import CHECKPOINTS, CONFIG_FILE, FINISHED_FILE, METRICS_FILE


@dataclass(frozen=True)
class RunReport(Result):
    """What `aurora inspect` found in a run."""

    path: str
    stage: str | None
    finished: bool
    steps: int
    """Optimizer steps whose metrics are written."""
    first_loss: float | None
    last: JsonObject | None
    """The last line of metrics."""
    samples: int
    tokens: int
    checkpoints: tuple[str, ...]
    latest: str | None
    validation_loss: float | None = None
    """The last that was measured."""
    lowest_validation_loss: float | None = None
    best: str | None = None
    """The checkpoint with the lowest of those that are there."""
    html: str | None = None
    """The page that was written."""
    planned: bool = False
    """It would be written (a dry run)."""

    def lines(self) -> list[str]:
        state = "finished" if self.finished else "not finished"
        lines = [f"{self.path}: stage {self.stage or 'unknown'}, {state}, {self.steps:,} steps"]
        if self.last is not None:
            loss = self.last.get("loss")
            lines.append(f"  loss {shown(self.first_loss)} at first, {shown(loss)} at step {self.last.get('step')}")
            lines.append(f"  {self.samples:,} samples, {self.tokens:,} tokens; last step: {pairs(self.last)}")
        if self.validation_loss is not None:
            lines.append(
                f"  validation loss {shown(self.validation_loss)} at last, {shown(self.lowest_validation_loss)} at best"
            )
        marks = [f"{what}: {name}" for what, name in (("latest", self.latest), ("best", self.best)) if name]
        lines.append(f"  checkpoints: {', '.join(self.checkpoints) or 'none'}" + f" ({', '.join(marks)})" * bool(marks))
        if self.html is not None:
            lines.append(f"  {'would write' if self.planned else 'wrote'} {self.html}")
        return lines


@dataclass(frozen=True)
class RunsReport(Result):
    """What `aurora inspect` found in a folder of runs."""

    path: str
    runs: tuple[RunReport, ...]

    def lines(self) -> list[str]:
        lines = [line for run in self.runs for line in run.lines()]
        return [*lines, *(f"aurora inspect {run.path} --html report.html shows it." for run in self.runs[:1])]


def inspect_runs(folder: Path) -> RunsReport:
    """Report on each run in a folder; exceptions are those of `inspect_run`."""
    runs = [path for path in folder.iterdir() if path.is_dir() and is_run(path)]
    return RunsReport(str(folder), tuple(map(inspect_run, sorted(runs, key=stage_order))))


def stage_order(path: Path) -> tuple[int, str]:
    """The published stages in their order, then others."""
    return (STAGES.index(path.name) if path.name in STAGES else len(STAGES)), path.name


def inspect_run(folder: Path) -> RunReport:
    """
    Raises:
        DataError: one of the run's files is something else than what a run writes.
    """
    metrics = RunMetrics(folder / METRICS_FILE)
    metrics.update()
    checkpoints = folder / CHECKPOINTS
    latest, top = newest(checkpoints), best(checkpoints)
    return RunReport(
        path=str(folder),
        stage=stage_of(folder / CONFIG_FILE),
        finished=(folder / FINISHED_FILE).exists(),
        steps=metrics.lines,
        first_loss=None if metrics.first is None else metrics.first.loss,
        last=None if metrics.last is None else metrics.last.to_json(),
        samples=metrics.samples,
        tokens=metrics.tokens,
        checkpoints=tuple(path.name for path in all_checkpoints(checkpoints)),
        latest=None if latest is None else latest.name,
        validation_loss=metrics.validation_last,
        lowest_validation_loss=metrics.validation_lowest,
        best=None if top is None else top[0].name,
    )


def stage_of(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: is not YAML: {error}") from error
    train = config.get("train", {}) if isinstance(config, dict) else {}
    return train.get("stage") if isinstance(train, dict) else None


def shown(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, int | float) else "unknown"


def pairs(metrics: JsonObject) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items() if isinstance(value, int | float))
