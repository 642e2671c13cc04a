"""Copies of checkpoints on another disk, or in a bucket: `checkpoint.copy_to`."""

from aurora_cli.config.workspace import Workspace
from aurora_cli.io.urls import is_url, join
from aurora_cli.pipeline.train.run_callbacks import RunCallback, Running
from aurora_cli.training.callbacks.callback import Callback
from aurora_cli.training.callbacks.checkpoint_copies import CheckpointCopies


def make(run: Running, _: None) -> Callback | None:
    settings = run.plan.settings
    if settings.checkpoint.copy_to is None:
        return None
    copies = settings.checkpoint.copy_to
    folder = (
        join(copies, run.plan.stage) if is_url(copies) else Workspace(settings.workspace).path(copies) / run.plan.stage
    )
    return CheckpointCopies(folder, settings.checkpoint.keep, run.reporter)


CALLBACK = RunCallback(make)
