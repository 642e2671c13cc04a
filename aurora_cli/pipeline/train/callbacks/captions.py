"""Sample captions on the way: every `train.samples_every` steps."""

from aurora_cli.pipeline.train.run_callbacks import RunCallback, Running
from aurora_cli.training.callbacks.callback import Callback


def make(run: Running, _: None) -> Callback | None:
    train = run.plan.settings.train
    if not train.samples_every:
        return None
    from aurora_cli.pipeline.train.captions.prompts import end_ids_of
    from aurora_cli.pipeline.train.captions.samples import Captions  # with torch

    ends = end_ids_of(run.plan.settings, run.plan.data[0].folder)
    return Captions(run.data, run.plan.run_dir, train.samples_every, train.samples, ends)


CALLBACK = RunCallback(make, on_every_rank=True)
