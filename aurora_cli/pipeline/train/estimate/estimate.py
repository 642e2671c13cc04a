"""What a stage would take: parameters, memory, tokens, steps, arithmetic, disk.

The network exists without its weights (on the meta device); the data is planned as training plans it, so token counts
and steps are exact. Memory and time are estimated.
"""

import contextlib
import os
import resource
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from aurora_cli.config.section import FixedPrecision
from aurora_cli.config.settings import Settings
from aurora_cli.data.batches.selection import chunks
from aurora_cli.data.batches.training_data import TrainingData
from aurora_cli.data.features.space import FeatureForm
from aurora_cli.errors import DataError
from aurora_cli.models.auroracap import AuroraCapConfig
from aurora_cli.pipeline.train.build_data import plan_data
from aurora_cli.pipeline.train.estimate.features import estimate_features
from aurora_cli.pipeline.train.estimate.machine import device_memory, flops_per_s
from aurora_cli.pipeline.train.estimate.micro_batches import full_size, sizes_of
from aurora_cli.pipeline.train.estimate.network import config_of, flops_of, frozen, parts_of, without_weights
from aurora_cli.pipeline.train.estimate.result import DataAmounts, TrainEstimate
from aurora_cli.pipeline.train.estimate.trace import MicroBatchSize, StepMemory, step_memory
from aurora_cli.pipeline.train.plan import StagePlan, plan_stage
from aurora_cli.pipeline.train.sample_lengths import beyond_positions
from aurora_cli.training.costs import Memory, PartSize, loading, states, static
from aurora_cli.training.engine.deepspeed_config import (
    engine_name,
    holds_shares_in_main_memory,
    offloads_optimizer,
    offloads_weights,
    read_config,
    resolved_precision,
    shares_while_loading,
)

STAGES_OF_ZERO = {"none": 0, "zero1": 1, "zero2": 2, "zero3": 3}
RUNNING = 80 << 20
"""Bytes that a run on a CPU takes beside: oneDNN's scratch, the loader's frames, trackers (measured, tiny preset)."""


def estimate_stage(settings: Settings, processes: int, trained_before: frozenset[str] = frozenset()) -> TrainEstimate:
    """What the stage would take on so many processes; where its data are not there yet, all but what hangs on them.

    `trained_before` as in `find_start`.

    Raises:
        UsageError: settings that contradict each other.
        DataError: no config of the network's parts can be found.
    """
    train = settings.train
    cuda = torch.cuda.is_available()
    engine = engine_name(train, processes)
    precision = resolved_precision(train.precision, cuda=cuda)
    plan, problem = plan_if_there(settings, trained_before)
    config = config_of(settings)
    model = without_weights(config)
    parts = parts_of(model, settings)
    data = None if plan is None else plan_data(plan, config)
    amounts = None if data is None else amounts_of(data, config)
    flops = None if data is None else flops_of(model, data, settings, parts)
    work, features = None, None
    if data is not None and flops is not None and amounts is not None:
        work = flops.of_run(amounts.epochs, features_kept=train.cache_features)
        if train.cache_features:
            vision: Any = config.vision_config
            features = estimate_features(data, settings, FeatureForm(vision.hidden_size, precision), flops)
    base = 0 if cuda else base_memory(engine)
    sizes = (full_size(config, settings),) if data is None else sizes_of(data, settings)
    memory = memory_by_engine(settings, config, parts, sizes, processes, cuda=cuda)
    deepspeed = read_config(engine, settings.workspace)
    running = memory["none" if deepspeed is None else f"zero{deepspeed['zero_optimization']['stage']}"]
    speed = train.flops_per_s
    if speed is None and work is not None:
        speed = flops_per_s(config.get_text_config().hidden_size, cuda=cuda)
    checkpoint = 4 * 3 * sum(part.trained for part in parts)
    return TrainEstimate(
        stage=train.stage,
        engine=engine,
        processes=processes,
        precision=precision,
        device=torch.cuda.get_device_name() if cuda else "cpu",
        parts=tuple(parts),
        memory=memory,
        memory_mb=round((running.total + base) / 2**20, 1),
        base_memory=base,
        loading_memory=loading_memory(settings, parts, engine, processes, cuda=cuda),
        data=amounts,
        flops=work,
        flops_per_s=speed,
        hours=None if work is None or speed is None else work / (speed * processes) / 3600,
        device_memory=device_memory(cuda=cuda),
        checkpoint_bytes=checkpoint,
        # The newest, the best of those that were measured, and one that is being written.
        checkpoints_bytes=checkpoint * (settings.checkpoint.keep + 1 + bool(amounts and amounts.validation_samples)),
        features=features,
        problem=problem,
    )


def memory_by_engine(
    settings: Settings,
    config: AuroraCapConfig,
    parts: list[PartSize],
    sizes: Sequence[MicroBatchSize],
    processes: int,
    *,
    cuda: bool,
) -> dict[str, Memory]:
    """What a process holds at most while it steps, under each engine."""
    train = settings.train
    precision = resolved_precision(train.precision, cuda=cuda)
    deepspeed = read_config(engine_name(train, processes), settings.workspace)
    offload = cuda and deepspeed is not None and offloads_optimizer(deepspeed)
    # Where ZeRO 2 offloads, the row of ZeRO 3 is our preset that does: it keeps weights in main memory as well.
    away = deepspeed is not None and (deepspeed["zero_optimization"]["stage"] < 3 or offloads_weights(deepspeed))
    plain = traced(settings, config, sizes, precision, processes, engine=False)
    sharded = plain if precision == "fp32" else traced(settings, config, sizes, precision, processes, engine=True)
    memory = {
        name: Memory(
            states(parts, stage, processes, precision, offload=offload, offload_weights=away),
            sharded.without_gradients,
        )
        for name, stage in STAGES_OF_ZERO.items()
    }
    return memory | {"none": plain_memory(parts, plain)}


def plain_memory(parts: Sequence[PartSize], step: StepMemory) -> Memory:
    """Without an engine gradients come as activations go: the sum of both is never there at once."""
    all_states = states(parts, 0, 1, "fp32")
    return Memory(all_states, max(0, static(parts) + step.peak - all_states))


def traced(
    settings: Settings,
    config: AuroraCapConfig,
    sizes: Sequence[MicroBatchSize],
    precision: FixedPrecision,
    processes: int,
    *,
    engine: bool,
) -> StepMemory:
    """What a step takes beside weights and optimizer: weights in fp32 under autocast, or in the engine's precision."""
    half = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    dtype, autocast = (half or torch.float32, None) if engine else (torch.float32, half)
    accumulated = settings.train.global_batch_packs > settings.train.micro_batch_packs * processes
    each = [
        step_memory(
            lambda: frozen(config, settings, dtype),
            settings,
            size,
            autocast,
            gradients_there=accumulated and not engine,
        )
        for size in sizes
    ]
    return StepMemory(*map(max, zip(*each, strict=True)))


def loading_memory(settings: Settings, parts: list[PartSize], engine: str, processes: int, *, cuda: bool) -> int:
    config = read_config(engine, settings.workspace)
    shared = config is not None and shares_while_loading(config, processes)
    if config is not None and shared and not holds_shares_in_main_memory(config, cuda=cuda):
        # DeepSpeed lays out there what of a share is trained, before it goes to the device for good.
        parts = [replace(part, parameters=part.trained) for part in parts]
    precision = resolved_precision(settings.train.precision, cuda=cuda)
    return loading(parts, processes, precision, shared=shared)


def plan_if_there(settings: Settings, trained_before: frozenset[str]) -> tuple[StagePlan | None, str | None]:
    """The stage as it would run from its beginning; or what is missing."""
    try:
        return plan_stage(_afresh(settings), trained_before), None
    except DataError as error:
        return None, str(error)


def base_memory(engine: str) -> int:
    """Bytes that Python and the libraries take in a process that trains on a CPU."""
    _import_engine(engine)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 + RUNNING


def _afresh(settings: Settings) -> Settings:
    """What an earlier run in the folder began with does not matter here."""
    return settings.model_copy(update={"train": settings.train.model_copy(update={"resume": "never"})})


def amounts_of(data: TrainingData, config: AuroraCapConfig) -> DataAmounts:
    """Exact counts of the data as training plans it; tokens of a mixture as expectation."""
    corpus = data.corpus
    epoch = corpus.epoch(0)
    frames = sum(int(corpus.frames[epoch[chunk]].sum()) for chunk in chunks(len(epoch)))
    visual = _visual_tokens(data, epoch)
    expected, planned = 0.0, 0
    for number in range(len(data.ratios)):
        for chunk in chunks(len(epoch)):
            some = epoch[chunk]
            expected += float(corpus.lengths_at(some, number) @ corpus.chances(some, number))
        taken = corpus.epoch_at(0, number)
        lengths = (corpus.lengths_at(taken[chunk], number) for chunk in chunks(len(taken)))
        planned += sum(int(some.sum(dtype="int64")) for some in lengths)
    packs = data.packs_in_epoch
    beyond = beyond_positions(data, config)
    return DataAmounts(
        samples=len(epoch),
        packs=packs,
        text_tokens=round(expected) - round(visual),
        visual_tokens=round(visual),
        frames=frames,
        fill=planned / (packs * data.reader.pack_tokens),
        steps=data.total_steps,
        epochs=round(data.epoch_after(data.total_steps), 6),
        left_out=len(corpus.too_long),
        validation_samples=len(corpus.validation),
        beyond_positions=None if beyond is None else str(beyond),
        notes=tuple(data.notes()),
        steps_by_ratio=_steps_by_ratio(data),
    )


def _visual_tokens(data: TrainingData, epoch: np.ndarray) -> float:
    """That an epoch has, as expectation; no temporary but the visits is as long as all samples."""
    corpus, visual = data.corpus, 0.0
    visits = np.zeros(corpus.starts[-1], np.uint16)
    for chunk in chunks(len(epoch)):
        np.add.at(visits, epoch[chunk], 1)
    for start, summary in corpus.summaries():
        taken = np.flatnonzero(visits[start : start + len(summary.length)])
        times = visits[start + taken]
        for number, ratio in enumerate(data.ratios):
            tokens = ratio.token_counts.in_all(summary.frames[taken], summary.videos[taken]) * times
            visual += float(tokens @ corpus.chances(start + taken, number))
    return visual


def _steps_by_ratio(data: TrainingData) -> dict[str, int] | None:
    steps = data.order.steps_of_ratios(data.total_steps)
    ratios = [ratio.merging for ratio in data.ratios]
    named = {f"{merging.kept_ratio:g}": count for merging, count in zip(ratios, steps, strict=True) if merging}
    return named or None


def _import_engine(engine: str) -> None:
    """So that what the libraries take shows in this process's memory."""
    import accelerate  # noqa: F401

    if engine != "none":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
        with contextlib.redirect_stdout(sys.stderr):  # it logs to stdout, which belongs to the result
            import deepspeed  # noqa: F401
