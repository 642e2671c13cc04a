"""AdamW's moments in 8 bits (Dettmers et al., ICLR 2022), by bitsandbytes; out of it and back in, exactly.

Each block of 256 values has the largest of them as its scale; a value is one of 256 steps of a fixed map, times the
scale. A checkpoint has the values in fp32, as of any optimizer, and the scales beside them: from both come the steps.
Small parameters (below 4,096 values) keep their moments in fp32.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from aurora_cli.training.engine.zero_state import ParameterState

BLOCK = 256
SMALLEST = 4096
"""Values of a parameter from which its moments are quantized."""


def adamw_8bit(groups: Any, betas: tuple[float, float]) -> torch.optim.Optimizer:
    """`groups` as any of torch's optimizers takes them."""
    from bitsandbytes.optim.adamw import AdamW8bit

    return AdamW8bit(groups, betas=betas, min_8bit_size=SMALLEST)


def keeps_8bit(optimizer: Any) -> bool:
    return hasattr(optimizer, "name2qmap")


def read_moments(name: str, parameter: nn.Parameter, moments: Mapping[str, Any]) -> ParameterState:
    """A parameter's state in fp32, with the scales of its moments."""
    values, scales = [], []
    for number in "12":
        kept = moments[f"state{number}"]
        if kept.dtype == torch.uint8:
            scale = moments[f"absmax{number}"]
            scales.append(scale)
            kept = moments[f"qmap{number}"][kept.flatten().long()] * _spread(scale, kept.numel())
        values.append(kept.view_as(parameter))
    return ParameterState(name, parameter.detach(), *values, scales=tuple(scales))


def write_moments(optimizer: Any, parameter: nn.Parameter, one: ParameterState, step: int) -> None:
    """Put back what `read_moments` gave."""
    group, index = next(
        (group, index)
        for group, described in enumerate(optimizer.param_groups)
        for index, own in enumerate(described["params"])
        if own is parameter
    )
    optimizer.init_state(optimizer.param_groups[group], parameter, group, index)
    moments = optimizer.state[parameter]
    moments["step"] = step
    for position, (number, values) in enumerate(zip("12", (one.exp_avg, one.exp_avg_sq), strict=True)):
        kept = moments[f"state{number}"]
        values = values.to(parameter.device)
        if kept.dtype != torch.uint8:
            kept.copy_(values.view_as(kept))
            continue
        scale = one.scales[position].to(parameter.device) if one.scales else _largest(values)
        moments[f"absmax{number}"].copy_(scale)
        spread = _spread(scale, values.numel())
        ratio = torch.where(spread > 0, values.flatten() / spread, torch.zeros_like(spread))
        kept.copy_(_nearest(moments[f"qmap{number}"], ratio).view_as(kept))


def _spread(scale: Tensor, values: int) -> Tensor:
    """Of each value its block's."""
    return scale.repeat_interleave(BLOCK)[:values]


def _largest(values: Tensor) -> Tensor:
    flat = values.flatten().abs()
    return nn.functional.pad(flat, (0, -len(flat) % BLOCK)).view(-1, BLOCK).amax(dim=1)


def _nearest(ascending: Tensor, values: Tensor) -> Tensor:
    """The index of the nearest of 256 numbers."""
    middles = (ascending[1:] + ascending[:-1]) / 2
    return torch.searchsorted(middles, values.contiguous()).to(torch.uint8)
