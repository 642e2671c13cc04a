"""Low-rank adapters on a part of the network (LoRA: Hu et al., ICLR 2022), by peft.

A part with adapters keeps its weights; trained, and held by a checkpoint, are the adapters alone:
`<module>.lora_A.default.weight` (rank, inputs) and `<module>.lora_B.default.weight` (outputs, rank). The weight that
they stand for is W + alpha / rank * B A.
"""

from collections.abc import Mapping

from torch import nn

from aurora_cli.config.training import Lora
from aurora_cli.errors import UsageError
from aurora_cli.models.parts import SUBMODULES, Part

MARK = ".lora_"
"""In the name of every adapter's parameter."""


def add_adapters(model: nn.Module, adapted: Mapping[Part, Lora]) -> dict[Part, Lora]:
    """Put fresh adapters, which change nothing yet, around the linear layers of these parts, in place.

    Returns them as a checkpoint keeps them, with the targets that were meant.

    Raises:
        UsageError: a target names no linear layer of its part.
    """
    if not adapted:
        return {}
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
        config = LoraConfig(r=how.rank, lora_alpha=how.alpha, lora_dropout=how.dropout, target_modules=targets)  # pyrefly: ignore[bad-argument-type] - alpha need not be whole
        inject_adapter_in_model(config, module)
        added[part] = how.model_copy(update={"targets": tuple(targets)})
    return added
