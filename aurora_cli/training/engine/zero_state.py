"""Weights and Adam's moments, by parameter, out of DeepSpeed's ZeRO optimizers and back in.

`deepspeed.utils.safe_get_*` and `safe_set_*` do most of it. What they lack: stages 1 and 2 link a parameter to its
moments right after the *first* group's step, when the other groups have none yet; before a first step nobody has any;
and stage 3's setter fails for a size that the ranks do not divide.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import torch

from aurora_cli.training.optim import shape_of

MOMENTS = ("exp_avg", "exp_avg_sq")


class ParameterState(NamedTuple):
    """What training knows of one parameter, whole, in fp32."""

    name: str
    weight: torch.Tensor
    exp_avg: torch.Tensor
    exp_avg_sq: torch.Tensor
    scales: tuple[torch.Tensor, ...] = ()
    """Of both moments' blocks, where they are kept in 8 bits."""


def read_state(optimizer: Any, parameters: Iterable[tuple[str, torch.nn.Parameter]]) -> Iterator[ParameterState]:
    """Every parameter's state after at least one step, put together one at a time. All ranks iterate together."""
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    if not _shards_weights(optimizer):
        _link_moments(optimizer)
    for name, parameter in parameters:
        shape = shape_of(parameter)
        whole = (
            safe_get_full_fp32_param(parameter),
            *(safe_get_full_optimizer_state(parameter, moment) for moment in MOMENTS),
        )
        yield ParameterState(name, *(tensor.detach().view(shape) for tensor in whole if tensor is not None))


def write_state(optimizer: Any, parameters: Iterable[tuple[torch.nn.Parameter, ParameterState]], step: int) -> None:
    """Put each parameter's state back, as after `step` steps, into an optimizer that has taken none.

    The model must have held the same weights when it was wrapped: here only the fp32 copies are written.
    """
    shards_weights = _shards_weights(optimizer)
    flats = optimizer.fp32_partitioned_groups_flat if shards_weights else optimizer.single_partition_of_fp32_groups
    for flat in flats:
        optimizer.optimizer.state[flat] = {
            "step": torch.tensor(float(step), device=flat.device),
            **{moment: torch.zeros_like(flat) for moment in MOMENTS},
        }
    if not shards_weights:
        _link_moments(optimizer)
    for parameter, one in parameters:
        for key, whole in ((None, one.weight), ("exp_avg", one.exp_avg), ("exp_avg_sq", one.exp_avg_sq)):
            if shards_weights:
                _write_shard(optimizer, parameter, whole, key)
            else:
                parameter.set_full_hp_param(whole, key)  # pyrefly: ignore[missing-attribute]


def _write_shard(optimizer: Any, parameter: torch.nn.Parameter, whole: torch.Tensor, key: str | None) -> None:
    local, _ = optimizer._get_fp32_opt_state_partition(parameter, release_swap_buffers=False, optim_state_key=key)
    begin = local.numel() * optimizer._get_param_partition_rank(parameter)
    part = whole.flatten()[begin : begin + local.numel()]  # the last rank's may be shorter: what follows is padding
    local.detach()[: part.numel()].copy_(part)


def _shards_weights(optimizer: Any) -> bool:
    """Whether this is stage 3's optimizer."""
    return hasattr(optimizer, "fp32_partitioned_groups_flat")


def _link_moments(optimizer: Any) -> None:
    optimizer._hp_optimizer_states_linked = False
    optimizer._lazy_init_hp_params_optimizer_state()
