"""Low-rank adapters on a part of the network (LoRA: Hu et al., ICLR 2022), by peft.

A part with adapters keeps its weights; what learns, and what a checkpoint holds of it, are the adapters alone:
`<module>.lora_A.default.weight` (rank, inputs) and `<module>.lora_B.default.weight` (outputs, rank). The weight that
they stand for is W + alpha / rank * B A.
"""

from collections.abc import Mapping

from torch import nn

from aurora_cli.config.training import Lora, TrainSettings
from aurora_cli.errors import UsageError
from aurora_cli.models.parts import SUBMODULES, Part

MARK = ".lora_"
"""In the name of every adapter's parameter."""

ADAPTABLE: tuple[Part, ...] = ("language_model", "vision_tower")
"""The parts that adapters are for; the projector is small."""


def adapted_parts(train: TrainSettings) -> dict[Part, Lora]:
    """The parts that learn by adapters.

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


def add_adapters(model: nn.Module, adapted: Mapping[Part, Lora]) -> dict[Part, Lora]:
    """Put fresh adapters, which change nothing yet, around the linear layers of these parts, in place.

    Returns them as a checkpoint keeps them, with the targets that were meant.

    Raises:
        UsageError: a target names no linear layer of its part.
    """
    from peft import LoraConfig, inject_adapter_in_model

    added: dict[Part, Lora] = {}
    for part, how in adapted.items():
        module = model.get_submodule(SUBMODULES[part])
        linear = sorted({name.rpartition(".")[2] for name, one in module.named_modules() if isinstance(one, nn.Linear)})
        targets = list(how.targets) or linear
        if unknown := sorted(set(targets) - set(linear)):
            raise UsageError(
                f"train.lora.{part}.targets: {unknown[0]!r} is no linear layer of it",
                hint=f"There are {', '.join(linear)}.",
            )
        config = LoraConfig(r=how.rank, lora_alpha=how.alpha, lora_dropout=how.dropout, target_modules=targets)  # pyright: ignore[reportArgumentType] - alpha need not be whole
        inject_adapter_in_model(config, module)
        added[part] = how.model_copy(update={"targets": tuple(targets)})
    return added
