"""`aurora inspect RUN`: how far a training run is. Reads its files alone, so it may be at work."""

from dataclasses import dataclass
from pathlib import Path

import yaml

from aurora_cli.errors import DataError
from aurora_cli.io import yaml_files
from aurora_cli.io.json_files import JsonObject
from aurora_cli.pipeline.result import Result
from aurora_cli.pipeline.text_table import aligned, aligned_left
from aurora_cli.reports.metrics import RunMetrics
from aurora_cli.reports.stages import runs_in
from aurora_cli.runs.checkpoints import all_checkpoints, best, newest
from aurora_cli.runs.layout import CHECKPOINTS, CONFIG_FILE, FINISHED_FILE, METRICS_FILE

RUN_COLUMNS = ["run", "state", "steps", "loss", "validation", "tokens"]


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
    """The best checkpoint of those that are there, by what the run keeps it by."""
    cider: float | None = None
    """CIDEr-D of the last captions that were evaluated."""
    highest_cider: float | None = None
    first: JsonObject | None = None
    """The first line of metrics."""
    html: str | None = None
    """The page that was written."""
    planned: bool = False
    """It would be written (a dry run)."""

    def lines(self) -> list[str]:
        lines = [f"{self.path}: stage {self.stage or 'unknown'}, {self.state}, {self.steps:,} steps"]
        if self.first is not None and self.last is not None:
            names = [name for name, value in self.last.items() if isinstance(value, int | float)]
            cells = [[name, figure(self.first.get(name)), figure(self.last.get(name))] for name in names]
            lines += aligned([["", "first", "last"], *cells])
        lines += aligned_left(self._facts())
        if self.html is not None:
            lines.append(f"  {'would write' if self.planned else 'wrote'} {self.html}")
        return lines

    @property
    def state(self) -> str:
        return "finished" if self.finished else "not finished"

    def _facts(self) -> list[tuple[str, str]]:
        """What is said of the whole run."""
        facts = [("samples in all", figure(self.samples)), ("tokens in all", figure(self.tokens))]
        if self.validation_loss is not None:
            lowest = f"{figure(self.lowest_validation_loss)} at best"
            facts.append(("validation loss", f"{figure(self.validation_loss)} at last, {lowest}"))
        if self.cider is not None:
            facts.append(("CIDEr-D", f"{figure(self.cider)} at last, {figure(self.highest_cider)} at best"))
        for number, name in enumerate(self.checkpoints or ("none",)):
            marks = [what for what, marked in (("latest", self.latest), ("best", self.best)) if marked == name]
            facts.append(("" if number else "checkpoints", name + f" ({', '.join(marks)})" * bool(marks)))
        return facts


@dataclass(frozen=True)
class RunsReport(Result):
    """What `aurora inspect` found in a folder of runs."""

    path: str
    runs: tuple[RunReport, ...]

    html: str | None = None
    """The page of all that was written."""
    planned: bool = False
    """It would be written (a dry run)."""

    def lines(self) -> list[str]:
        lines = [f"{self.path}: {len(self.runs)} run{'s' * (len(self.runs) != 1)}"]
        lines += aligned([RUN_COLUMNS, *map(_run_row, self.runs)], indent="  ")
        if self.html is not None:
            return [*lines, f"  {'would write' if self.planned else 'wrote'} {self.html}"]
        return [*lines, f"aurora inspect {self.path} --html report.html shows them."]


def _run_row(run: RunReport) -> list[str]:
    loss = "-" if run.last is None else f"{figure(run.first_loss)} -> {figure(run.last.get('loss'))}"
    name = Path(run.path).name
    return [name, run.state, f"{run.steps:,}", loss, figure(run.lowest_validation_loss), f"{run.tokens:,}"]


def inspect_runs(folder: Path) -> RunsReport:
    """Report on each run in a folder; exceptions are those of `inspect_run`."""
    return RunsReport(str(folder), tuple(map(inspect_run, runs_in(folder))))


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
        best=None if top is None else top.checkpoint.name,
        cider=None if metrics.evaluated_last is None else metrics.evaluated_last.cider,
        highest_cider=metrics.cider_highest,
        first=None if metrics.first is None else metrics.first.to_json(),
    )


def stage_of(path: Path) -> str | None:
    if not path.is_file():
        return None
    try:
        config = yaml_files.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: is not YAML: {error}") from error
    train = config.get("train", {}) if isinstance(config, dict) else {}
    return train.get("stage") if isinstance(train, dict) else None


def figure(value: object) -> str:
    """
    >>> figure(1234), figure(0.000123456), figure(3.14159265), figure(98765.4), figure(None)
    ('1,234', '0.0001235', '3.142', '98,765', '-')
    """
    if isinstance(value, int) or (isinstance(value, float) and abs(value) >= 1000):
        return f"{value:,.0f}"
    return f"{value:.4g}" if isinstance(value, float) else "-"
