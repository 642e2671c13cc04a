"""The callbacks of a run: which there are by the settings, and those that know more than the loop does."""

from pathlib import Path

from aurora_cli.console import Reporter
from aurora_cli.data.batches.training_data import TrainingData
from aurora_cli.pipeline.train.plan import StagePlan
from aurora_cli.pipeline.train.sample_captions import Captions, end_ids_of
from aurora_cli.reports.metrics import RunMetrics
from aurora_cli.reports.run import write_report
from aurora_cli.runs.layout import METRICS_FILE, REPORT_FILE
from aurora_cli.training.callbacks.callback import Callback
from aurora_cli.training.callbacks.checkpoint_copies import CheckpointCopies
from aurora_cli.training.callbacks.trackers import Trackers
from aurora_cli.training.engine.engine import Engine


def callbacks_of(plan: StagePlan, running: Engine, data: TrainingData, step: int, reporter: Reporter) -> list[Callback]:
    """The callbacks of a run that goes on after `step`; on every rank, those for the main one only there."""
    train, checkpoint = plan.settings.train, plan.settings.checkpoint
    callbacks: list[Callback] = []
    if train.samples_every:
        ends = end_ids_of(plan.settings, plan.data[0].folder)
        callbacks.append(Captions(data, plan.run_dir, train.samples_every, train.samples, ends))
    if running.is_main and train.trackers:
        callbacks.append(Trackers(train.trackers, plan.run_dir, step, plan.recipe, reporter))
    if running.is_main:
        callbacks.append(ReportPage(plan.run_dir, plan.settings.workspace))
    if running.is_main and checkpoint.copy_to is not None:
        folder = plan.settings.workspace / checkpoint.copy_to.expanduser() / plan.stage
        callbacks.append(CheckpointCopies(folder, checkpoint.keep, reporter))
    return callbacks


class ReportPage(Callback):
    """Writes the run's page after every checkpoint, reading each line of metrics once."""

    def __init__(self, run_dir: Path, root: Path) -> None:
        self._run_dir = run_dir
        self._root = root
        self._metrics = RunMetrics(run_dir / METRICS_FILE)

    def on_checkpoint(self, engine: Engine, checkpoint: Path) -> None:
        write_report(self._run_dir, self._root, self._run_dir / REPORT_FILE, self._metrics)
