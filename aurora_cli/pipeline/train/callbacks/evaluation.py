"""Scores of captions on the way: every `train.evaluate_every` steps."""

from aurora_cli.pipeline.train.run_callbacks import RunCallback, Running
from aurora_cli.runs.lines import CAPTION_SCORES
from aurora_cli.training.callbacks.callback import Callback


def make(run: Running, _: None) -> Callback | None:
    settings = run.plan.settings
    every = settings.train.evaluate_every
    if not every:
        return None
    from aurora_cli.pipeline.train.captions.prompts import end_ids_of
    from aurora_cli.pipeline.train.captions.scores import EvaluatedCaptions  # with torch

    periods = [every, settings.checkpoint.every] if settings.checkpoint.keep_best in CAPTION_SCORES else [every]
    total = run.data.total_steps
    return EvaluatedCaptions(
        run.data,
        settings.train.evaluate_samples,
        lambda step: step == total or any(step % period == 0 for period in periods),
        end_ids_of(settings, run.plan.data[0].folder),
        run.reporter,
    )


CALLBACK = RunCallback(make, on_every_rank=True)
