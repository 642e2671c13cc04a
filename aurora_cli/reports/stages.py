"""`runs/report.html`: all runs of a workspace as one page, in the order of the stages."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pydantic import JsonValue

from aurora_cli.config.settings import Settings
from aurora_cli.constants import STAGES
from aurora_cli.io.atomic import write_text
from aurora_cli.reports.charts import Point, line_chart
from aurora_cli.reports.metrics import RunMetrics
from aurora_cli.reports.page import Chart, Page, render
from aurora_cli.reports.run import SECTIONS, RunPage, read_config, run_content
from aurora_cli.runs.find import is_run
from aurora_cli.runs.layout import CHECKPOINTS, CONFIG_FILE, FINISHED_FILE, INITIAL, METRICS_FILE

OF_THE_CALL = {"stage", "run_dir", "plan", "fit", "write", "live", "resume", "flops_per_s", "watchdog_s"}
"""Settings of `train` that say nothing of what a run learns."""

BROAD = 960.0
"""Width of the drawing that stands alone in its row."""

UNSET = "—"
SHOWN = 80
"""Characters of a setting."""


class RunRow(NamedTuple):
    """A run in the table of all."""

    name: str
    anchor: str
    state: str
    steps: str
    loss: str
    validation: str
    tokens: int
    tokens_per_s: str
    time: str
    start: str


class Difference(NamedTuple):
    """A setting that is not the same in all runs."""

    path: str
    values: list[str]
    """A run each."""


@dataclass(frozen=True)
class StagesPage(Page):
    """What `templates/stages.html.j2` shows."""

    rows: list[RunRow]
    loss: Chart
    differences: list[Difference]
    runs: list[RunPage]
    """A page each; its title is the run's name."""


def stage_order(path: Path) -> tuple[int, str]:
    """The published stages in their order, then others."""
    return (STAGES.index(path.name) if path.name in STAGES else len(STAGES)), path.name


def runs_in(folder: Path) -> list[Path]:
    """The runs in a folder, in the order of the stages."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if path.is_dir() and is_run(path)), key=stage_order)


class StagesReport:
    """Writes the page of a folder of runs; each line of metrics is read once, however often that is."""

    def __init__(self, folder: Path, root: Path) -> None:
        """Names of data start at `root`, the workspace."""
        self._folder = folder
        self._root = root
        self._metrics: dict[Path, RunMetrics] = {}

    def write(self, target: Path) -> None:
        write_text(target, self.page())

    def page(self) -> str:
        runs = runs_in(self._folder)
        metrics = {run: self._metrics.setdefault(run, RunMetrics(run / METRICS_FILE)) for run in runs}
        pages = [run_content(run, self._root, metrics[run], title=run.name) for run in runs]
        page = StagesPage(
            title=str(self._folder),
            lead=", ".join(run.name for run in runs) or "no runs",
            foot="aurora train and aurora inspect.",
            rows=[_row(run, metrics[run], page) for run, page in zip(runs, pages, strict=True)],
            loss=_all_losses({run.name: metrics[run] for run in runs}),
            differences=differences([read_config(run / CONFIG_FILE) for run in runs]),
            runs=pages,
        )
        return render("stages.html.j2", page)


def _row(run: Path, metrics: RunMetrics, page: RunPage) -> RunRow:
    first, last = metrics.first, metrics.last
    lowest = metrics.validation_lowest
    return RunRow(
        name=run.name,
        anchor=page.anchor,
        state="finished" if (run / FINISHED_FILE).exists() or 0 < page.steps == page.step else "not finished",
        steps=page.progress,
        loss=UNSET if first is None or last is None else f"{first.loss:.4f} → {last.loss:.4f}",
        validation=UNSET if lowest is None else f"{lowest:.4f} at {metrics.validation_lowest_step:,}",
        tokens=metrics.tokens,
        tokens_per_s=f"{metrics.tokens / max(metrics.seconds, 1e-9):,.0f}",
        time=duration(metrics.seconds),
        start=short_start(next((value for name, value in page.start if name == "starts from"), UNSET)),
    )


def short_start(name: str) -> str:
    """
    >>> short_start("runs/vision/checkpoints/step-00000120"), short_start("runs/toy/initial"), short_start("me/model")
    ('vision, step 120', 'random weights', 'me/model')
    """
    path = Path(name)
    if path.parent.name == CHECKPOINTS and path.name.startswith("step-"):
        return f"{path.parent.parent.name}, step {int(path.name.removeprefix('step-')):,}"
    return "random weights" if path.name == INITIAL else name


def duration(seconds: float) -> str:
    """
    >>> duration(42.4), duration(4000), duration(100_000)
    ('42 s', '1 h 7 min', '27 h 47 min')
    """
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"


def _all_losses(metrics: Mapping[str, RunMetrics]) -> Chart:
    """The losses of all runs, one after another."""
    series: dict[str, list[Point]] = {}
    validation: list[Point] = []
    before = 0
    for name, one in metrics.items():
        series[name] = [(before + step, loss) for step, loss in one.curves["loss"].points()]
        validation += [(before + step, loss) for step, loss in one.curves["validation_loss"].points()]
        validation.append((before, float("nan")))  # the next run's begins anew
        before += 0 if one.last is None else one.last.step
    if len(validation) > len(metrics):
        series["validation"] = validation
    drawing = line_chart(series, name="Loss of all runs", axis="steps of all runs", logarithmic=None, width=BROAD)
    return Chart("Loss", drawing, "mean over target tokens, in nats; the runs one after another")


def differences(configs: Sequence[Mapping[str, JsonValue]]) -> list[Difference]:
    """The settings that are not the same in all runs; one that a run's version did not have is at its default.

    >>> differences([{"train": {"seed": 0, "epochs": 1.0}}, {"train": {"seed": 1}}])
    [Difference(path='train.seed', values=['0', '1'])]
    """
    default = dict(flat(Settings().model_dump(mode="json", include=set(SECTIONS))))
    trees = [dict(flat({key: config[key] for key in SECTIONS if key in config})) for config in configs]
    paths = {path for tree in trees for path in tree} - {f"train.{name}" for name in OF_THE_CALL}
    wholes = {path.rpartition(".")[0] for path in paths}  # a part that one run trains and another does not
    found = []
    for path in sorted(paths - wholes):
        values = [_shown(tree.get(path, default.get(path, UNSET))) for tree in trees]
        if len(set(values)) > 1:
            found.append(Difference(path, values))
    return found


def flat(tree: Mapping[str, JsonValue], prefix: str = "") -> list[tuple[str, JsonValue]]:
    """The settings of a tree by dotted path; a part that one run has and another has not is one setting."""
    found: list[tuple[str, JsonValue]] = []
    for key, value in tree.items():
        found += flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(f"{prefix}{key}", value)]
    return found


def _shown(value: JsonValue) -> str:
    text = value if isinstance(value, str) else "none" if value is None else json.dumps(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
