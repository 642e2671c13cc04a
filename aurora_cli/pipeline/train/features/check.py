"""Whether a stage can keep features, and where."""

from pathlib import Path

from aurora_cli.config.settings import Settings
from aurora_cli.config.training import TrainSettings
from aurora_cli.config.workspace import Workspace
from aurora_cli.errors import UsageError
from aurora_cli.io.scratch import check_scratch, own_folder

PART = "train"
"""Of scratch: what training keeps there."""


def check_features(settings: Settings) -> None:
    """
    Raises:
        UsageError: features are to be kept of a tower that is trained, or that gives others at each kept ratio.
    """
    train = settings.train
    if train.cache_features and (ratios := settings.merging.trained_ratios):
        raise UsageError(
            f"train.cache_features: stage {train.stage!r} trains at {len(ratios)} kept ratios (merging.kept_ratio), at"
            " each of which the tower gives other features",
            hint="Leave it out here, or train at one: --token-kept-ratio 0.5",
        )
    if train.cache_features and (setting := what_trains_tower(train)) is not None:
        raise UsageError(
            f"train.cache_features: stage {train.stage!r} trains the vision tower ({setting}), so that it gives other"
            " features after every step",
            hint="Leave it out here, or freeze the tower: --set train.vision_tower=null. With --stage all it is left"
            " out where the tower is trained.",
        )


def why_no_features(settings: Settings) -> str | None:
    """What a stage does that keeps it from keeping features; none: it can."""
    if ratios := settings.merging.trained_ratios:
        return f"trains at {len(ratios)} kept ratios (merging.kept_ratio)"
    setting = what_trains_tower(settings.train)
    return None if setting is None else f"trains the vision tower ({setting})"


def what_trains_tower(train: TrainSettings) -> str | None:
    """The setting by which the stage trains the vision tower; none: it is frozen."""
    if train.vision_tower is None:
        return None
    if train.lora.vision_tower is not None:
        return f"train.lora.vision_tower.rank is {train.lora.vision_tower.rank}"
    return f"train.vision_tower.lr is {train.vision_tower.lr:g}"


def check_train_scratch(settings: Settings) -> None:
    """
    Raises:
        UsageError: there is no such folder.
    """
    if settings.train.scratch is not None:
        check_scratch(Workspace(settings.workspace).path(settings.train.scratch).absolute(), "train.scratch")


def features_folder(settings: Settings) -> Path:
    """Where kept features of all runs lie."""
    workspace, scratch = Workspace(settings.workspace), settings.train.scratch
    return workspace.features if scratch is None else own_folder(workspace.path(scratch).absolute(), PART) / "features"
