"""What the optimizer is told: which parameters learn, in which groups, and the learning rate of a step.

AdamW: Loshchilov and Hutter, ICLR 2019. The schedule is a pure function of the step: resuming needs no state.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from torch import nn

from aurora_cli.config.training import ModuleTraining, TrainSettings
from aurora_cli.errors import UsageError
from aurora_cli.training.lora import MARK

MODULES = ("vision_tower", "projector", "language_model")
"""The parts of the network that a stage trains or freezes, as settings call them."""


class InParts(Protocol):
    """A network that knows which of its parameters a part has: those that reach the loss (`models.auroracap` does)."""

    def parameters(self) -> Iterator[nn.Parameter]: ...
    def part_parameters(self, part: Any) -> dict[str, nn.Parameter]: ...


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a peak rate and a decay, by name and in the model's order."""

    module: str
    names: tuple[str, ...]
    lr: float
    weight_decay: float


def trained_modules(train: TrainSettings) -> dict[str, ModuleTraining]:
    """The parts that this stage trains, and how.

    Raises:
        UsageError: the stage trains nothing.
    """
    trained = {module: how for module in MODULES if (how := getattr(train, module)) is not None}
    if not trained:
        raise UsageError(
            f"stage {train.stage!r} trains nothing: train.projector, .vision_tower and .language_model are unset",
            hint="Give one a rate: --set train.projector.lr=2e-4",
        )
    return trained


Learning = Mapping[str, Mapping[str, nn.Parameter]]
"""Part -> name -> parameter, of those that learn."""


def learning_parameters(model: InParts, trained: Iterable[str], adapted: Container[str] = ()) -> Learning:
    """What learns of each trained part: of those in `adapted` the adapters, of others every parameter."""
    return {
        module: {
            name: parameter
            for name, parameter in model.part_parameters(module).items()
            if module not in adapted or MARK in name
        }
        for module in trained
    }


def freeze_all_but(model: InParts, learning: Learning) -> None:
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for part in learning.values():
        for parameter in part.values():
            parameter.requires_grad_(True)


def parameter_groups(learning: Learning, trained: Mapping[str, ModuleTraining]) -> list[ParameterGroup]:
    """The groups of what learns: matrices of a part decay as the stage says; norms and biases never."""
    groups: list[ParameterGroup] = []
    for module, how in trained.items():
        mine = learning[module]
        if how.weight_decay == 0.0:  # one group instead of two: fewer, larger flat buffers under ZeRO
            groups.append(ParameterGroup(module, tuple(mine), how.lr, 0.0))
            continue
        matrices = tuple(name for name, parameter in mine.items() if len(shape_of(parameter)) >= 2)
        vectors = tuple(name for name, parameter in mine.items() if len(shape_of(parameter)) < 2)
        groups += [
            ParameterGroup(module, names, how.lr, decay)
            for names, decay in ((matrices, how.weight_decay), (vectors, 0.0))
            if names
        ]
    return groups


def shape_of(parameter: nn.Parameter) -> tuple[int, ...]:
    """Of the whole parameter, also where ranks hold parts of it (ZeRO-3)."""
    return tuple(getattr(parameter, "ds_shape", parameter.shape))
