"""The run's page, and that of all runs: `report.html`."""

from pathlib import Path
from typing import TYPE_CHECKING

from aurora_cli.config.workspace import Workspace
from aurora_cli.pipeline.train.run_callbacks import RunCallback, Running
from aurora_cli.reports.metrics import RunMetrics
from aurora_cli.reports.run import write_report
from aurora_cli.reports.stages import StagesReport, runs_in
from aurora_cli.runs.layout import METRICS_FILE, REPORT_FILE
from aurora_cli.training.callbacks.callback import Callback

if TYPE_CHECKING:
    from aurora_cli.training.engine.engine import Engine


class ReportPage(Callback):
    """Writes the run's page after every checkpoint, reading each line of metrics once; and the page of all runs of the
    workspace, if this is one of several."""

    def __init__(self, run_dir: Path, workspace: Workspace) -> None:
        self._run_dir = run_dir
        self._workspace = workspace
        self._metrics = RunMetrics(run_dir / METRICS_FILE)
        self._all = StagesReport(workspace.runs, workspace.root)

    def on_checkpoint(self, engine: "Engine", checkpoint: Path) -> None:
        write_report(self._run_dir, self._workspace.root, self._run_dir / REPORT_FILE, self._metrics)
        runs = runs_in(self._workspace.runs)
        if len(runs) > 1 and self._run_dir in runs:
            self._all.write(self._workspace.runs / REPORT_FILE)


def make(run: Running, _: None) -> Callback:
    return ReportPage(run.plan.run_dir, Workspace(run.plan.settings.workspace))


CALLBACK = RunCallback(make)
