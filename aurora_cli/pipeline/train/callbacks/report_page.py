"""The run's page, `report.html`."""

from pathlib import Path
from typing import TYPE_CHECKING

from aurora_cli.pipeline.train.run_callbacks import RunCallback, Running
from aurora_cli.reports.metrics import RunMetrics
from aurora_cli.reports.run import write_report
from aurora_cli.runs.layout import METRICS_FILE, REPORT_FILE
from aurora_cli.training.callbacks.callback import Callback

if TYPE_CHECKING:
    from aurora_cli.training.engine.engine import Engine


class ReportPage(Callback):
    """Writes the run's page after every checkpoint, reading each line of metrics once."""

    def __init__(self, run_dir: Path, root: Path) -> None:
        self._run_dir = run_dir
        self._root = root
        self._metrics = RunMetrics(run_dir / METRICS_FILE)

    def on_checkpoint(self, engine: "Engine", checkpoint: Path) -> None:
        write_report(self._run_dir, self._root, self._run_dir / REPORT_FILE, self._metrics)


def make(run: Running, _: None) -> Callback:
    return ReportPage(run.plan.run_dir, run.plan.settings.workspace)


CALLBACK = RunCallback(make)
