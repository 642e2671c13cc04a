"""Whether a stage can keep features."""

from aurora_cli.config.training import TrainSettings
from aurora_cli.errors import UsageError


def check_features(train: TrainSettings) -> None:
    """
    Raises:
        UsageError: features are to be kept of a tower that is trained.
    """
    if train.cache_features and (setting := what_trains_tower(train)) is not None:
        raise UsageError(
            f"train.cache_features: stage {train.stage!r} trains the vision tower ({setting}), so that it gives other"
            " features after every step",
            hint="Leave it out here, or freeze the tower: --set train.vision_tower=null. With --stage all it is left"
            " out where the tower is trained.",
        )


def what_trains_tower(train: TrainSettings) -> str | None:
    """The setting by which the stage trains the vision tower; none: it is frozen."""
    if train.vision_tower is None:
        return None
    if train.lora.vision_tower is not None:
        return f"train.lora.vision_tower.rank is {train.lora.vision_tower.rank}"
    return f"train.vision_tower.lr is {train.vision_tower.lr:g}"
