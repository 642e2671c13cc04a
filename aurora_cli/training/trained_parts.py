"""Which parts of the network a stage trains by its settings, and which of them by adapters."""

from aurora_cli.config.training import Lora, ModuleTraining, TrainSettings
from aurora_cli.errors import UsageError
from aurora_cli.models.parts import PARTS, Part

ADAPTABLE: tuple[Part, ...] = ("language_model", "vision_tower")
"""The parts that adapters are for; the projector is small."""


def trained_parts(train: TrainSettings) -> dict[Part, ModuleTraining]:
    """The parts that this stage trains, and how.

    Raises:
        UsageError: the stage trains nothing.
    """
    trained: dict[Part, ModuleTraining] = {part: how for part in PARTS if (how := getattr(train, part)) is not None}
    if not trained:
        raise UsageError(
            f"stage {train.stage!r} trains nothing: train.projector, .vision_tower and .language_model are unset",
            hint="Give one a rate: --set train.projector.lr=2e-4",
        )
    return trained


def adapted_parts(train: TrainSettings) -> dict[Part, Lora]:
    """The parts that are trained by adapters.

    Raises:
        UsageError: one of them is frozen.
    """
    adapted: dict[Part, Lora] = {part: how for part in ADAPTABLE if (how := getattr(train.lora, part)) is not None}
    for part in adapted:
        if getattr(train, part) is None:
            raise UsageError(
                f"train.lora.{part} is set, but stage {train.stage!r} does not train that part",
                hint=f"Give its adapters a rate: --set train.{part}.lr=1e-4",
            )
    return adapted
