"""Copies of checkpoints on another disk: `checkpoint.copy_to`."""

from aurora_cli.pipeline.train.run_callbacks import RunCallback, Running
from aurora_cli.training.callbacks.callback import Callback
from aurora_cli.training.callbacks.checkpoint_copies import CheckpointCopies


def make(run: Running, _: None) -> Callback | None:
    settings = run.plan.settings
    if settings.checkpoint.copy_to is None:
        return None
    folder = settings.workspace / settings.checkpoint.copy_to.expanduser() / run.plan.stage
    return CheckpointCopies(folder, settings.checkpoint.keep, run.reporter)


CALLBACK = RunCallback(make)
