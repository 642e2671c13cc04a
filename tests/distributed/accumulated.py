"""The gradient that an engine's optimizer gets in bf16 after 64 micro-batches, beside their sum in float64."""

import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from aurora_cli.config.settings import TrainSettings
from aurora_cli.console import SILENT
from aurora_cli.training.engine import deepspeed_config, engine
from aurora_cli.training.optim import ParameterGroup
from aurora_cli.training.processes import launcher
from aurora_cli.training.processes.ranks import Rank, rank_from_environment
from aurora_cli.training.processes.worker import serve

MICRO_BATCHES, WIDTH = 64, 64


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, 1, bias=False))


def loss(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    return (model(batch).float() ** 2).sum()


def relative_error(name: str, rank: Rank) -> float:
    batches = torch.randn(MICRO_BATCHES, 4, WIDTH, generator=torch.Generator().manual_seed(1)).bfloat16()
    slow, total = network().bfloat16(), torch.zeros(WIDTH * WIDTH + WIDTH, dtype=torch.float64)
    for batch in batches:
        slow.zero_grad()
        loss(slow, batch).backward()
        total += torch.cat([weight.grad.flatten().double() for weight in slow.parameters() if weight.grad is not None])
    model = network()
    running = engine.prepare(
        model,
        [ParameterGroup("projector", tuple(dict(model.named_parameters())), lr=1e-3, weight_decay=0.0)],
        TrainSettings(precision="bf16", max_grad_norm=1e9),
        rank,
        accumulation=MICRO_BATCHES,
        config=deepspeed_config.read_config(name, Path()),
    )
    wrapped: Any = running.model
    inner = wrapped.optimizer.optimizer
    seen: list[torch.Tensor] = []
    step = inner.step

    def noting(*args: Any, **kwargs: Any) -> Any:
        weights = [weight for group in inner.param_groups for weight in group["params"]]
        seen.extend(weight.grad.flatten().double() for weight in weights if weight.grad is not None)
        return step(*args, **kwargs)

    inner.step = noting
    for batch in batches:
        with running.accelerator.accumulate(running.model):
            running.backward(loss(running.model, batch))
    found = torch.cat(seen)[: len(total)] * MICRO_BATCHES
    engine.forget()
    return float((found - total).norm() / total.norm())


def run(folder: Path, *names: str) -> str:
    """The relative error under each engine, one after another in a process of their own, as words."""
    return launcher.run_workers([sys.executable, __file__, *names], 1, logs=folder, reporter=SILENT)


if __name__ == "__main__":
    own_rank = rank_from_environment() or Rank()
    serve(lambda _: " ".join(str(relative_error(name, own_rank)) for name in sys.argv[1:]))
