"""A network whose weights the ranks share from the beginning (ZeRO-3): none of them ever holds it whole.

Inside DeepSpeed's `zero.Init` rank 0 makes every weight whole and sends it to all, who gather it again to load it.
Here each rank copies its own range of a weight out of the file, and no rank talks to another. What the network is built
with until then, memory that nobody has written to, the system has promised and not given.
"""

from typing import Any

import torch
from torch import Tensor, nn

from aurora_cli.config.training import TrainSettings
from aurora_cli.io.json_files import JsonObject
from aurora_cli.models.assign import Assign, Values, assign_whole
from aurora_cli.training.engine.deepspeed_config import shares_while_loading
from aurora_cli.training.engine.engine import prepare_deepspeed
from aurora_cli.training.processes.ranks import Rank


def assign_for(train: TrainSettings, rank: Rank, *, accumulation: int, config: JsonObject | None) -> Assign:
    """How this rank places weights: its own range of each under ZeRO-3, else whole. All ranks call it together."""
    if config is None or not shares_while_loading(config, rank.world_size):
        return assign_whole
    filled = prepare_deepspeed(config, train, rank, accumulation)
    import deepspeed

    deepspeed.init_distributed(torch.distributed.get_backend(), auto_mpi_discovery=False)
    return _Shares(deepspeed.zero.Init(module=nn.Module(), config_dict_or_path=filled))


def is_shared(weight: Tensor) -> bool:
    return hasattr(weight, "ds_id")


class _Shares:
    """Places a parameter's values where `zero.Init` would have left them."""

    def __init__(self, init: Any) -> None:
        self._init = init

    @torch.no_grad()
    def __call__(self, weight: Tensor, values: Values) -> None:
        if not isinstance(weight, nn.Parameter):  # buffers are every rank's own
            assign_whole(weight, values)
            return
        parameter: Any = weight
        if not is_shared(parameter):
            parameter.data = torch.empty(parameter.shape, dtype=self._init.dtype)
            self._init._convert_to_deepspeed_param(parameter)
            parameter.partition()
            parameter.data = torch.empty(0, dtype=self._init.dtype, device=self._init.local_device)
        local = parameter.ds_tensor
        begin = local.numel() * parameter.ds_zero_partition_rank
        end = min(begin + local.numel(), parameter.ds_numel)  # the last ranks may hold less: what follows is padding
        if begin < end:
            local[: end - begin].copy_(values(begin, end))
