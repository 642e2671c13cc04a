"""Whether what a run is to be evaluated by can be measured."""

from collections.abc import Sequence

from aurora_cli.config.settings import Settings
from aurora_cli.errors import UsageError
from aurora_cli.pipeline.train.data_folders import DataFolder
from aurora_cli.runs.lines import CAPTION_SCORES


def check_keep_best(settings: Settings) -> None:
    """
    Raises:
        UsageError: the best checkpoint is to be known by a score of captions that are not written.
    """
    metric = settings.checkpoint.keep_best
    if metric in CAPTION_SCORES and not settings.train.evaluate_every:
        raise UsageError(
            f"checkpoint.keep_best: {metric} is measured only where train.evaluate_every is set",
            hint=f"--set train.evaluate_every={settings.checkpoint.every}",
        )


def check_evaluated(settings: Settings, validation: Sequence[DataFolder]) -> None:
    """
    Raises:
        UsageError: captions of validation samples are to be scored, and there are no such samples.
    """
    if settings.train.evaluate_every and not validation and not settings.data.validation_share:
        raise UsageError(
            f"train.evaluate_every: stage {settings.train.stage!r} has no validation samples to write captions of",
            hint="--set data.validation_share=0.01 keeps some of the data; or name a folder (data.validation).",
        )
