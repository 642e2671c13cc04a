"""The engine under the loop: accelerate with nothing, with DDP, or with DeepSpeed ZeRO.

It hides what differs: how gradients are summed, where the fp32 weights and Adam's moments are kept, how the gradient norm is
read. Weights and moments come out of it and go into it by parameter name, so that a checkpoint belongs to no engine.
"""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from aurora_cli.config.presets import presets_folder
from aurora_cli.config.settings import Precision, TrainSettings
from aurora_cli.errors import HostError, UsageError
from aurora_cli.training.launch import Rank
from aurora_cli.training.optim import ParameterGroup
from aurora_cli.training.zero import MOMENTS, ParameterState, read_state, write_state

ENGINES = ("none", "zero1", "zero2", "zero2_offload", "zero3", "zero3_offload")

# accelerate and DeepSpeed call it by the name in their configuration files
_MIXED: Mapping[str, Literal["no", "bf16", "fp16"]] = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}


def engine_name(train: TrainSettings, world_size: int) -> str:
    """`none` for one process, `zero2` for more, unless the settings say."""
    return train.deepspeed or ("none" if world_size == 1 else "zero2")


def resolved_precision(precision: Precision, *, cuda: bool) -> Literal["fp32", "bf16", "fp16"]:
    if precision == "auto":
        return "bf16" if cuda else "fp32"
    return precision


def read_config(name: str, folder: Path) -> dict[str, Any] | None:
    """DeepSpeed's configuration by an engine's name or a file's path (relative to `folder`); None for `none`.

    Raises:
        UsageError: there is no such engine or file, or the file is not one that aurora can run.
    """
    if name == "none":
        return None
    path = presets_folder() / "deepspeed" / f"{name}.json" if name in ENGINES else folder / name
    if not path.is_file():
        raise UsageError(
            f"train.deepspeed: {name!r} is neither an engine nor a file",
            hint=f"One of {', '.join(ENGINES)}, or a DeepSpeed JSON file.",
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not readable as JSON: {error}") from None
    if not isinstance(config, dict):
        raise UsageError(f"{path}: expected a JSON object, found {type(config).__name__}")
    for key in ("optimizer", "scheduler"):
        if key in config:
            raise UsageError(
                f"{path}: has its own {key!r}", hint=f"Remove it: the {key} comes from the train.* settings."
            )
    stage = config.get("zero_optimization", {}).get("stage")
    if stage not in (1, 2, 3):
        raise UsageError(f"{path}: zero_optimization.stage is {stage!r}, expected 1, 2 or 3")
    return config


def fill_config(
    config: dict[str, Any], *, micro: int, accumulation: int, world: int, clip: float, precision: str
) -> dict[str, Any]:
    """The configuration with what the settings say in place of `auto` or nothing.

    Raises:
        UsageError: the file says otherwise than the settings.
    """
    filled = json.loads(json.dumps(config))
    says = {
        "train_batch_size": micro * accumulation * world,
        "train_micro_batch_size_per_gpu": micro,
        "gradient_accumulation_steps": accumulation,
        "gradient_clipping": clip,
    }
    for key, value in says.items():
        if filled.get(key, "auto") not in ("auto", value):
            raise UsageError(
                f"the DeepSpeed file says {key} = {filled[key]}, the settings come to {value}",
                hint=f'Write "{key}": "auto" there, and change train.* instead.',
            )
        filled[key] = value
    for kind in ("bf16", "fp16"):
        section = filled.setdefault(kind, {})
        if section.get("enabled", "auto") not in ("auto", precision == kind):
            raise UsageError(
                f"the DeepSpeed file says {kind}.enabled = {section['enabled']}, the settings come to {precision}",
                hint='Write "auto" there, and set train.precision.',
            )
        section["enabled"] = precision == kind
    filled.setdefault("steps_per_print", 1_000_000_000)
    filled.setdefault("zero_allow_untested_optimizer", True)
    filled.setdefault("zero_force_ds_cpu_optimizer", False)
    return filled


def join_process_group(rank: Rank) -> None:
    """Meet the other processes. Nothing to do for one alone.

    Raises:
        HostError: they cannot be reached.
    """
    if rank.world_size == 1 or torch.distributed.is_initialized():
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(rank.local_rank)
    try:
        torch.distributed.init_process_group("nccl" if cuda else "gloo", rank=rank.rank, world_size=rank.world_size)
    except (RuntimeError, ValueError) as error:
        raise HostError(
            f"rank {rank.rank} of {rank.world_size} cannot meet the others at {rank.master_addr}:{rank.master_port}: {error}",
            hint="Is the port free and reachable, and were all processes started?",
        ) from error


def share_from_main(value: Any) -> Any:
    """Rank 0's `value`, on every rank. Others pass anything."""
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return value
    box = [value]
    torch.distributed.broadcast_object_list(box, src=0)
    return box[0]


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
    def is_main(self) -> bool:
        return self.accelerator.is_main_process

    @property
    def loss_scale(self) -> float:
        """What a micro-batch's share of the global loss is multiplied by, because engines average over ranks and micro-batches."""
        return float(self.world_size * self.accumulation)

    def set_lr(self, factor: float) -> None:
        for group, described in zip(self.optimizer.param_groups, self.groups, strict=True):
            group["lr"] = described.lr * factor

    def backward(self, loss: torch.Tensor) -> torch.Tensor | None:
        """Take one micro-batch's gradients in; after the last of a step, clip and step, and return the norm before clipping.

        Call it inside `self.accelerator.accumulate(self.model)`.
        """
        self.accelerator.backward(loss)
        if not self.accelerator.sync_gradients:
            return None
        if self.zero_stage:  # DeepSpeed clipped and stepped at the end of its backward
            norm = self.model.get_global_grad_norm()  # pyright: ignore[reportCallIssue]
        else:
            norm = self.accelerator.clip_grad_norm_(self._trained(), self.max_grad_norm)
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
            self._inner_optimizer.state[parameter] = {
                "step": torch.tensor(float(step)),
                "exp_avg": one.exp_avg.to(parameter.device, copy=True),
                "exp_avg_sq": one.exp_avg_sq.to(parameter.device, copy=True),
            }

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every trained parameter, in the order of `state`."""
        return {name: tuple(getattr(p, "ds_shape", p.shape)) for name, p in self._named().items()}

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
    config: dict[str, Any] | None,
) -> Engine:
    """Wrap a model whose frozen parts are frozen already. `config` is `read_config`'s."""
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
        # On a CPU DeepSpeed would compile a shared-memory communicator at first use: 41 s, or a crash without a compiler.
        from accelerate.utils import DeepSpeedPlugin

        _prepare_deepspeed_environment(rank)
        filled = fill_config(
            config,
            micro=train.micro_batch_packs,
            accumulation=accumulation,
            world=rank.world_size,
            clip=train.max_grad_norm,
            precision=precision,
        )
        options["deepspeed_plugin"] = DeepSpeedPlugin(hf_ds_config=filled, zero3_init_flag=False)
        # Without it every rank of a CPU run believes that it is alone.
        options["kwargs_handlers"].append(InitProcessGroupKwargs(backend="nccl" if cuda else "gloo"))
    by_name = dict(model.named_parameters())
    optimizer = torch.optim.AdamW(
        [
            {"params": [by_name[name] for name in group.names], "lr": group.lr, "weight_decay": group.weight_decay}
            for group in groups
        ],
        betas=train.betas,
    )
    accelerator = Accelerator(**options)
    if accelerator.num_processes != rank.world_size:
        raise HostError(f"{rank.world_size} processes were started, but the engine sees {accelerator.num_processes}")
    if config is None:
        model = model.to(accelerator.device)
    wrapped, optimizer = accelerator.prepare(model, optimizer)
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


def _prepare_deepspeed_environment(rank: Rank) -> None:
    """Say to DeepSpeed who we are (it would ask MPI) and that nothing is to be compiled."""
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")
    os.environ.update(rank.environment())
    import deepspeed.ops

    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def forget() -> None:
    """Let a later run in this process begin with a fresh engine; leave the process group."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
