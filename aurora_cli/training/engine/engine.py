"""The engine under the loop: accelerate with nothing, with DDP, or with DeepSpeed ZeRO.

It hides what differs: how gradients are summed, where the fp32 weights and Adam's moments are kept, how the gradient
norm is read. Weights and moments come out of it and go into it by parameter name: a checkpoint belongs to no engine.
"""

import atexit
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from aurora_cli.config.settings import TrainSettings
from aurora_cli.errors import HostError, UsageError
from aurora_cli.io.json_files import JsonObject
from aurora_cli.training.engine.deepspeed_config import fill_config, resolved_precision
from aurora_cli.training.engine.eight_bit import adamw_8bit, keeps_8bit, read_moments, write_moments
from aurora_cli.training.engine.zero_state import MOMENTS, ParameterState, read_state, write_state
from aurora_cli.training.optim import ParameterGroup, shape_of
from aurora_cli.training.processes.ranks import Rank

# accelerate and DeepSpeed call it by the name in their configuration files
_MIXED: Mapping[str, Literal["no", "bf16", "fp16"]] = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


@dataclass
class Engine:
    """A model and its optimizer, ready to step. Build it with `prepare`."""

    accelerator: Any
    model: nn.Module
    """What the loop calls: the engine's wrapper."""
    module: nn.Module
    """The network itself."""
    optimizer: Any
    groups: Sequence[ParameterGroup]
    accumulation: int
    max_grad_norm: float
    zero_stage: int
    """1, 2 or 3; 0 without DeepSpeed."""

    @property
    def device(self) -> torch.device:
        return self.accelerator.device

    @property
    def world_size(self) -> int:
        return self.accelerator.num_processes

    @property
    def rank(self) -> int:
        return self.accelerator.process_index

    @property
    def is_main(self) -> bool:
        return self.accelerator.is_main_process

    @property
    def loss_scale(self) -> float:
        """What a micro-batch's share of the loss is multiplied by: engines average over ranks and micro-batches."""
        return float(self.world_size * self.accumulation)

    @property
    def peak_lr(self) -> float:
        """The largest of the groups' rates at the top of the schedule."""
        return max(group.lr for group in self.groups)

    def guard_grad_norm(self, norm: float) -> float:
        """The gradient's norm as something to judge by: loss scaling (fp16) skips a step that overflows, by design."""
        return 0.0 if self.accelerator.mixed_precision == "fp16" else norm

    def set_lr(self, factor: float) -> None:
        for group, described in zip(self.optimizer.param_groups, self.groups, strict=True):
            group["lr"] = described.lr * factor

    def backward(self, loss: torch.Tensor) -> torch.Tensor | None:
        """Take one micro-batch's gradients in; after the last of a step: clip, step, return the norm before clipping.

        Call it inside `self.accelerator.accumulate(self.model)`.
        """
        self.accelerator.backward(loss)
        if not self.accelerator.sync_gradients:
            return None
        if self.zero_stage:  # DeepSpeed clipped and stepped at the end of its backward
            norm = self.model.get_global_grad_norm()  # pyrefly: ignore[not-callable]
        else:
            self.accelerator.unscale_gradients()
            norm = nn.utils.clip_grad_norm_(self._trained(), self.max_grad_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return torch.as_tensor(norm, dtype=torch.float64, device=self.device)

    def sum_over_ranks(self, values: torch.Tensor) -> torch.Tensor:
        if self.world_size > 1:
            torch.distributed.all_reduce(values)
        return values

    def gather_lists(self, items: list[Any]) -> list[Any]:
        """All ranks' items, by rank. A call that all make together."""
        if self.world_size == 1:
            return items
        lists: list[list[Any]] = [[] for _ in range(self.world_size)]
        torch.distributed.all_gather_object(lists, items)
        return [item for one in lists for item in one]

    def barrier(self) -> None:
        if self.world_size > 1:
            torch.distributed.barrier()

    def state(self) -> Iterator[ParameterState]:
        """Every trained parameter's state, whole, one at a time: all ranks iterate together, only rank 0 need look."""
        if self.zero_stage:
            yield from read_state(self.model.optimizer, self._named().items())
            return
        for name, parameter in self._named().items():
            moments = self._inner_optimizer.state[parameter]
            if keeps_8bit(self._inner_optimizer):
                yield read_moments(name, parameter, moments)
                continue
            yield ParameterState(name, parameter.detach(), *(moments[moment] for moment in MOMENTS))

    def restore(self, state: Iterator[ParameterState], step: int) -> None:
        """Put back what `state` gave after `step` optimizer steps, on whatever engine. All ranks pass the same.

        The module must have held the same weights when it was prepared.
        """
        parameters = self._named()
        if self.zero_stage:
            write_state(self.model.optimizer, ((parameters[one.name], one) for one in state), step)
            return
        for one in state:
            parameter = parameters[one.name]
            if keeps_8bit(self._inner_optimizer):
                write_moments(self._inner_optimizer, parameter, one, step)
                continue
            self._inner_optimizer.state[parameter] = {
                "step": torch.tensor(float(step), device=parameter.device),
                "exp_avg": one.exp_avg.to(parameter.device, copy=True),
                "exp_avg_sq": one.exp_avg_sq.to(parameter.device, copy=True),
            }

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every trained parameter, in the order of `state`."""
        return {name: shape_of(parameter) for name, parameter in self._named().items()}

    @property
    def _inner_optimizer(self) -> torch.optim.Optimizer:
        return self.optimizer.optimizer

    def _named(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.module.named_parameters() if p.requires_grad}

    def _trained(self) -> list[nn.Parameter]:
        return [p for p in self.module.parameters() if p.requires_grad]


def prepare(
    model: nn.Module,
    groups: Sequence[ParameterGroup],
    train: TrainSettings,
    rank: Rank,
    *,
    accumulation: int,
    config: JsonObject | None,
    hidden_size: int | None = None,
) -> Engine:
    """Wrap a model whose frozen parts are frozen already. `config` is `read_config`'s, `hidden_size` the width that
    sizes of buckets follow where it says `auto`.
    """
    from accelerate import Accelerator
    from accelerate.utils import InitProcessGroupKwargs

    cuda = torch.cuda.is_available()
    precision = resolved_precision(train.precision, cuda=cuda)
    options: dict[str, Any] = {
        "gradient_accumulation_steps": accumulation,
        "mixed_precision": _MIXED[precision],
        "kwargs_handlers": [],
    }
    if config is None:
        options["cpu"] = not cuda
    else:
        from accelerate.utils import DeepSpeedPlugin

        filled = prepare_deepspeed(config, train, rank, accumulation, hidden_size)
        options["deepspeed_plugin"] = DeepSpeedPlugin(hf_ds_config=filled, zero3_init_flag=False)
        # Without it every rank of a CPU run believes that it is alone.
        options["kwargs_handlers"].append(InitProcessGroupKwargs(backend="nccl" if cuda else "gloo"))
    by_name = dict(model.named_parameters())
    described = [
        {"params": [by_name[name] for name in group.names], "lr": group.lr, "weight_decay": group.weight_decay}
        for group in groups
    ]
    if train.optimizer == "adamw_8bit":
        optimizer = adamw_8bit(described, train.betas)
    else:
        # fused: of a tiny model on a CPU, a loop over its tensors takes as long as the forward pass
        optimizer = torch.optim.AdamW(described, betas=train.betas, fused=True)
    accelerator = Accelerator(**options)
    if accelerator.num_processes != rank.world_size:
        raise HostError(f"{rank.world_size} processes were started, but the engine sees {accelerator.num_processes}")
    if config is None:
        model = model.to(accelerator.device)
    else:
        for buffer in model.buffers():  # DeepSpeed leaves them where they are when the weights are shared already
            buffer.data = buffer.to(accelerator.device)
    # The model is on its device already: accelerate need not look for tensors of FSDP (0.7 s of imports).
    options_of_prepare = {} if config is not None else {"device_placement": [False, True]}
    wrapped, optimizer = accelerator.prepare(model, optimizer, **options_of_prepare)
    wrapped.train()
    return Engine(
        accelerator=accelerator,
        model=wrapped,
        module=model,
        optimizer=optimizer,
        groups=groups,
        accumulation=accumulation,
        max_grad_norm=train.max_grad_norm,
        zero_stage=config["zero_optimization"]["stage"] if config else 0,
    )


def prepare_deepspeed(
    config: JsonObject, train: TrainSettings, rank: Rank, accumulation: int, hidden_size: int | None = None
) -> JsonObject:
    """Say to DeepSpeed who we are (it would ask MPI), and that it shall compile nothing; its configuration, filled in.

    On a CPU it would build a communicator for shared memory at first use: 41 s, or a crash where there is no compiler.
    """
    cuda = torch.cuda.is_available()
    precision = resolved_precision(train.precision, cuda=cuda)
    if precision == "fp16" and not cuda:
        raise UsageError("train.precision: fp16 under DeepSpeed needs a GPU", hint="Set it to fp32, bf16 or auto.")
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if cuda else "cpu")
    os.environ.update(rank.environment())
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    return fill_config(
        config,
        micro=train.micro_batch_packs,
        accumulation=accumulation,
        world=rank.world_size,
        max_grad_norm=train.max_grad_norm,
        precision=precision,
        hidden_size=hidden_size,
    )


def forget(*, failed: bool = False) -> None:
    """Let a later run in this process begin with a fresh engine.

    The process group stays until the process ends, when it must be left: DeepSpeed keeps hold of it, and gloo's threads
    abort an interpreter that ends without. After a failure NCCL would wait there for ranks that never come.
    """
    from accelerate.state import AcceleratorState, GradientState

    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()
    if torch.distributed.is_initialized():
        atexit.unregister(_leave_process_group)  # what is registered last is done first
        if not (failed and torch.distributed.get_backend() == "nccl"):
            atexit.register(_leave_process_group)


def _leave_process_group() -> None:
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
