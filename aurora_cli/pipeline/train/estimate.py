"""`aurora train --plan`: what a stage would take - parameters, memory, tokens, steps, arithmetic, disk. Nothing is run.

The network exists without its weights (on the meta device); the data is planned as training plans it, so token counts
and steps are exact. Memory and time are reckoned.
"""

import contextlib
import os
import resource
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aurora_cli.config.settings import Settings
from aurora_cli.errors import DataError
from aurora_cli.pipeline.result import Result
from aurora_cli.pipeline.train.network_costs import activations_of, config_of, flops_of, parts_of, without_weights
from aurora_cli.pipeline.train.plan import StagePlan, plan_stage
from aurora_cli.training.costs import Memory, PartSize, loading, states

if TYPE_CHECKING:
    from aurora_cli.data.batches.training_data import TrainingData

STAGES_OF_ZERO = {"none": 0, "zero1": 1, "zero2": 2, "zero3": 3}
GB = 1e9

RUNNING = 80 << 20
"""Bytes that a run on a CPU takes beside: oneDNN's scratch, the loader's frames, trackers (measured, tiny preset)."""


@dataclass(frozen=True)
class Amounts:
    """What the data comes to, exactly."""

    samples: int
    """An epoch."""
    packs: int
    """An epoch."""
    text_tokens: int
    visual_tokens: int
    frames: int
    """An epoch."""
    fill: float
    """Of packs, before they are padded to one length."""
    steps: int
    epochs: float


@dataclass(frozen=True)
class TrainPlan(Result):
    """What `aurora train --plan` found."""

    stage: str
    engine: str
    processes: int
    precision: str
    device: str
    parts: tuple[PartSize, ...]
    memory: dict[str, Memory]
    """By engine, for the processes that were asked for."""
    memory_mb: float
    """Of each process under the engine that would run, at most."""
    base_memory: int
    """Bytes that Python and its libraries take beside; 0 where a GPU's memory is meant."""
    loading_memory: int
    """Bytes of main memory that each process takes for weights while it loads them."""
    data: Amounts | None
    flops: float | None
    """Of the whole run."""
    flops_per_s: float
    hours: float | None
    checkpoint_bytes: int
    """Of one."""
    checkpoints_bytes: int
    """Of all that lie on the disk at once, while one is being written."""
    problem: str | None = None
    """Why there are no numbers of the data."""

    def lines(self) -> list[str]:
        whole = sum(part.parameters for part in self.parts)
        learning = sum(part.trained for part in self.parts)
        lines = [f"stage {self.stage}: {_short(whole)} parameters, {_short(learning)} learn"]
        lines += [
            f"  {part.name:<15}{_short(part.parameters):>9}"
            + (f", {_short(part.trained)} learn" if part.trained else ", frozen")
            for part in self.parts
        ]
        lines.append(
            f"memory of each of {self.processes} process{'es' if self.processes > 1 else ''}, {self.precision}, about:"
        )
        base = f" + {self.base_memory / GB:,.1f} of Python and its libraries" if self.base_memory else ""
        for name, memory in self.memory.items():
            chosen = "  <- this run" if name == self.engine.removesuffix("_offload") else ""
            lines.append(
                f"  {name:<6}{(memory.total + self.base_memory) / GB:>8,.1f} GB = {memory.states / GB:,.1f} of states"
                f" + {memory.activations / GB:,.1f} of activations{base}{chosen}"
            )
        lines.append(
            f"main memory while weights are loaded: {self.loading_memory / GB:,.1f} GB a process,"
            f" {self.processes * self.loading_memory / GB:,.1f} GB for all of them"
        )
        if self.data is not None:
            lines += self._data_lines(self.data)
        lines.append(
            f"disk: {self.checkpoint_bytes / GB:,.2f} GB a checkpoint,"
            f" {self.checkpoints_bytes / GB:,.2f} GB for all that are there at once"
        )
        if self.problem:
            lines.append(f"The run would stop, so there are no numbers of the data: {self.problem}")
        return lines

    def _data_lines(self, data: Amounts) -> list[str]:
        per_step = data.samples * data.epochs / max(1, data.steps)
        return [
            f"an epoch: {data.samples:,} samples, {data.frames:,} frames, {data.text_tokens:,} text +"
            f" {data.visual_tokens:,} visual tokens, {data.packs:,} packs, {data.fill:.1%} full",
            f"the run: {data.epochs:,.2f} epochs, {data.steps:,} steps of about {per_step:,.0f} samples",
            f"arithmetic: {self.flops:.3g} FLOPs, {self.hours:,.2f} h at {self.flops_per_s:.3g} FLOP/s a process"
            " (train.flops_per_s)",
        ]


def _short(number: int) -> str:
    """
    >>> _short(59_904), _short(7_062_000_000)
    ('59.9 K', '7,062.0 M')
    """
    return f"{number / 1e3:,.1f} K" if number < 1e6 else f"{number / 1e6:,.1f} M"


def plan_run(settings: Settings, processes: int) -> TrainPlan:
    """Reckon a stage. What hinders it (no data yet) is told, and the rest reckoned all the same."""
    import torch

    from aurora_cli.pipeline.train.build_data import plan_data
    from aurora_cli.training.engine.deepspeed_config import engine_name, resolved_precision

    train = settings.train
    cuda = torch.cuda.is_available()
    engine = engine_name(train, processes)
    precision = resolved_precision(train.precision, cuda=cuda)
    plan: StagePlan | None = None
    problem: str | None = None
    try:
        plan = plan_stage(_afresh(settings))
    except DataError as error:
        problem = str(error)
    config = config_of(settings)
    model = without_weights(config)
    parts = parts_of(model, settings)
    data = None if plan is None else plan_data(plan, config)
    amounts = None if data is None else amounts_of(data)
    work = None if data is None else flops_of(model, data, settings, parts)
    size = 4 if precision == "fp32" else 2
    held = activations_of(model, settings, parts, size)
    if not cuda:
        _import_engine(engine)
    base = 0 if cuda else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + RUNNING
    memory = {
        name: Memory(states(parts, stage, processes, precision, offload=cuda and "offload" in engine), held)
        for name, stage in STAGES_OF_ZERO.items()
    }
    chosen = memory.get(engine.removesuffix("_offload")) or memory["zero2"]  # what a file of the user's says most often
    checkpoint = 4 * 3 * sum(part.trained for part in parts)
    return TrainPlan(
        stage=train.stage,
        engine=engine,
        processes=processes,
        precision=precision,
        device=torch.cuda.get_device_name() if cuda else "cpu",
        parts=tuple(parts),
        memory=memory,
        memory_mb=round((chosen.total + base) / 2**20, 1),
        base_memory=base,
        loading_memory=_loading_memory(settings, parts, engine, processes, cuda=cuda),
        data=amounts,
        flops=work,
        flops_per_s=train.flops_per_s,
        hours=None if work is None else work / (train.flops_per_s * processes) / 3600,
        checkpoint_bytes=checkpoint,
        checkpoints_bytes=checkpoint * (settings.checkpoint.keep + 1),
        problem=problem,
    )


def _loading_memory(settings: Settings, parts: list[PartSize], engine: str, processes: int, *, cuda: bool) -> int:
    from aurora_cli.training.engine.deepspeed_config import (
        holds_shares_in_main_memory,
        read_config,
        resolved_precision,
        shares_while_loading,
    )

    config = read_config(engine, settings.workspace)
    shared = config is not None and shares_while_loading(config, processes)
    if config is not None and shared and not holds_shares_in_main_memory(config, cuda=cuda):
        # DeepSpeed lays out there what of a share learns, before it goes to the device for good.
        parts = [replace(part, parameters=part.trained) for part in parts]
    precision = resolved_precision(settings.train.precision, cuda=cuda)
    return loading(parts, processes, precision, shared=shared)


def _afresh(settings: Settings) -> Settings:
    """What an earlier run in the folder began with does not matter here."""
    return settings.model_copy(update={"train": settings.train.model_copy(update={"resume": "never"})})


def amounts_of(data: "TrainingData") -> Amounts:
    """Exact counts of the data as training plans it."""
    from aurora_cli.data.token_store.store import open_store

    corpus = data.corpus
    epoch = corpus.epoch(0)
    frames, visual = int(corpus.frames[epoch].sum()), 0
    for store, start, end in zip(corpus.stores, corpus.starts[:-1], corpus.starts[1:], strict=True):
        summary = open_store(store.folder).summary()
        mine = epoch[(epoch >= start) & (epoch < end)] - start
        tokens = data.reader.token_counts.in_all(summary.frames, summary.videos)
        visual += int(tokens[mine].sum())
    tokens = int(corpus.lengths[epoch].sum(dtype="int64"))
    packs = data.row.packs_in_epoch(0)
    return Amounts(
        samples=len(epoch),
        packs=packs,
        text_tokens=tokens - visual,
        visual_tokens=visual,
        frames=frames,
        fill=tokens / (packs * data.reader.pack_tokens),
        steps=data.total_steps,
        epochs=round(data.total_packs / packs, 6),
    )


def _import_engine(engine: str) -> None:
    """So that what the libraries take shows in this process's memory."""
    import accelerate  # noqa: F401

    if engine != "none":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        with contextlib.redirect_stdout(sys.stderr):  # it logs to stdout, which belongs to the result
            import deepspeed  # noqa: F401
