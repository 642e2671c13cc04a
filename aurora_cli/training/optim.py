"""What the optimizer gets: the trained parameters, in groups of one rate and one decay.

AdamW: Loshchilov and Hutter, ICLR 2019.
"""

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from aurora_cli.config.training import ModuleTraining
from aurora_cli.models.parts import Part
from aurora_cli.training.lora import MARK


class InParts(Protocol):
    """A network that knows which of its parameters a part has: those that reach the loss (`models.auroracap` does)."""

    def parameters(self) -> Iterator[nn.Parameter]: ...
    def part_parameters(self, part: Part) -> dict[str, nn.Parameter]: ...


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that share a peak rate and a decay, by name and in the model's order."""

    part: Part
    names: tuple[str, ...]
    lr: float
    weight_decay: float


TrainedParameters = Mapping[Part, Mapping[str, nn.Parameter]]
"""Part -> name -> parameter."""


def trained_parameters(model: InParts, trained: Iterable[Part], adapted: Container[Part] = ()) -> TrainedParameters:
    """The trained parameters of each part: of those in `adapted` the adapters, of others every parameter."""
    return {
        part: {
            name: parameter
            for name, parameter in model.part_parameters(part).items()
            if part not in adapted or MARK in name
        }
        for part in trained
    }


def freeze_all_but(model: InParts, trained: TrainedParameters) -> None:
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    for part in trained.values():
        for parameter in part.values():
            parameter.requires_grad_(True)


def parameter_groups(parameters: TrainedParameters, trained: Mapping[Part, ModuleTraining]) -> list[ParameterGroup]:
    """The groups of the trained parameters: matrices of a part decay as the stage says; norms and biases never."""
    groups: list[ParameterGroup] = []
    for part, how in trained.items():
        named = parameters[part]
        if how.weight_decay == 0.0:  # one group instead of two: fewer, larger flat buffers under ZeRO
            groups.append(ParameterGroup(part, tuple(named), how.lr, 0.0))
            continue
        matrices = tuple(name for name, parameter in named.items() if len(shape_of(parameter)) >= 2)
        vectors = tuple(name for name, parameter in named.items() if len(shape_of(parameter)) < 2)
        groups += [
            ParameterGroup(part, names, how.lr, decay)
            for names, decay in ((matrices, how.weight_decay), (vectors, 0.0))
            if names
        ]
    return groups


def shape_of(parameter: nn.Parameter) -> tuple[int, ...]:
    """Of the whole parameter, also where ranks hold parts of it (ZeRO-3)."""
    return tuple(getattr(parameter, "ds_shape", parameter.shape))
