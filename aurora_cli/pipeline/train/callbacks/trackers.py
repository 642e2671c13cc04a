"""Experiment trackers: `train.trackers`."""

from aurora_cli.pipeline.train.run_callbacks import RunCallback, Running
from aurora_cli.training.callbacks.callback import Callback
from aurora_cli.training.callbacks.trackers import Trackers


def make(run: Running, _: None) -> Callback | None:
    names = run.plan.settings.train.trackers
    return Trackers(names, run.plan.run_dir, run.step, run.plan.recipe, run.reporter) if names else None


CALLBACK = RunCallback(make)
