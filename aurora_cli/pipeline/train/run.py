"""Where model, data and training meet: what every process of a run builds, restores and loops over."""

import functools
import os
from typing import TYPE_CHECKING

from aurora_cli.console import Reporter
from aurora_cli.constants import REJECTS_FILE
from aurora_cli.errors import HostError
from aurora_cli.io.atomic import remove
from aurora_cli.pipeline.train.build_data import plan_data
from aurora_cli.pipeline.train.build_model import build_network
from aurora_cli.pipeline.train.callbacks import callbacks_of
from aurora_cli.pipeline.train.plan import StagePlan
from aurora_cli.runs.layout import METRICS_FILE
from aurora_cli.runs.lines import RejectedLine, append_lines, cut_back
from aurora_cli.runs.metadata import CheckpointMetadata, TrainState

if TYPE_CHECKING:
    from aurora_cli.data.batches.shared_plan import PlanShare
    from aurora_cli.data.batches.training_data import TrainingData
    from aurora_cli.training.processes.ranks import Rank
    from aurora_cli.training.trainer import LoopResult

PLANS = ".plans"
"""Folder in a run through which its processes share the packs of an epoch."""


def train_stage(plan: StagePlan, rank: "Rank", engine_name: str, reporter: Reporter) -> "tuple[LoopResult, int]":
    """Train to the last step. Returns where it came to, and how many steps there were to be.

    Raises:
        Interrupted: a signal came; the state is saved.
    """
    from aurora_cli.data.batches.sampler import accumulation
    from aurora_cli.training import optim, trainer
    from aurora_cli.training.checkpoint import TrainingCheckpoint
    from aurora_cli.training.engine import engine
    from aurora_cli.training.engine.deepspeed_config import read_config
    from aurora_cli.training.engine.zero_loading import assign_for
    from aurora_cli.training.guards import MediaLimit
    from aurora_cli.training.processes import signals
    from aurora_cli.training.processes.watchdog import watching

    settings = plan.settings
    train = settings.train
    stop = signals.StopRequest()
    with signals.on_stop_signals(stop):
        if rank.is_main:
            reporter.info(f"weights from {plan.resume or plan.start.said()}")
        accumulated = accumulation(train.global_batch_packs, rank.world_size, train.micro_batch_packs)
        config = read_config(engine_name, settings.workspace)
        network = build_network(plan, assign_for(train, rank, accumulation=accumulated, config=config))
        data = plan_data(plan, network.model.config, share_of(plan, rank))
        running = engine.prepare(
            network.model,
            optim.parameter_groups(network.learning, network.trained),
            train,
            rank,
            accumulation=accumulated,
            config=config,
        )
        position = TrainState(recipe=plan.recipe)
        if plan.resume is not None:
            saved = TrainingCheckpoint(plan.resume)
            running.restore(saved.parameters(running.shapes()), saved.state.step)
            position = saved.state.model_copy(update={"recipe": plan.recipe})
        if rank.is_main:
            _prepare_records(plan, data, position.step)
            reporter.info(
                f"{data.total_steps:,} steps of {train.global_batch_packs} packs, {data.corpus.samples:,} samples;"
                f" engine {engine_name}, trained: {', '.join(network.trained)}"
            )
            for note in data.corpus.notes():
                reporter.info(note)
        running.barrier()
        loop = trainer.LoopConfig(
            run_dir=plan.run_dir,
            description=CheckpointMetadata(
                stage=plan.stage,
                step=position.step,
                steps=data.total_steps,
                base=plan.start.base,
                trained=tuple(network.trained),
                merging=settings.merging,
                model=settings.model,
                order_hash=position.order_hash,
                lora={**network.adapters},
            ),
            every=settings.checkpoint.every,
            keep=settings.checkpoint.keep,
            warmup_ratio=train.warmup_ratio,
            seed=train.seed,
            # Where tower and projector neither learn nor are sharded, a batch without media needs neither.
            always_encode=running.zero_stage == 3 or bool({"vision_tower", "projector"} & network.trained.keys()),
            media_limit=MediaLimit(settings.data.max_bad_share, data.samples_in_run, data.part_of_epoch),
            max_loss_jump=train.max_loss_jump,
            callbacks=callbacks_of(plan, running, data, position.step, reporter),
            held_out=(lambda: data.validation_batches(rank.rank, rank.world_size))
            if len(data.corpus.validation)
            else None,
        )
        steps = data.batches(rank.rank, rank.world_size, start_step=position.step)
        with watching(train.watchdog_s, rank.rank, functools.partial(_on_timeout, reporter)) as watchdog:
            outcome = trainer.train(
                running,
                steps,
                data,
                loop,
                position,
                reporter=reporter,
                watchdog=watchdog,
                stop_asked=lambda: stop.asked,
            )
        if rank.is_main:
            remove(plan.run_dir / PLANS)
        return outcome, data.total_steps


def share_of(plan: StagePlan, rank: "Rank") -> "PlanShare | None":
    """One process of several plans the packs. All call it together."""
    from aurora_cli.data.batches.shared_plan import PlanShare
    from aurora_cli.training.processes import collectives

    folder = plan.run_dir / PLANS
    collectives.broadcast_from_rank0(lambda: remove(folder))
    return None if rank.world_size == 1 else PlanShare(folder, rank.rank, plan.settings.train.watchdog_s)


def _prepare_records(plan: StagePlan, data: "TrainingData", step: int) -> None:
    """Cut the lines back to the checkpoint; a new run begins its rejects with what no pack holds."""
    for name in (METRICS_FILE, REJECTS_FILE):
        cut_back(plan.run_dir / name, step if plan.resume is not None else -1)
    if plan.resume is None:
        rejected = (RejectedLine.of(one, step=0) for one in data.corpus.rejections())
        append_lines(plan.run_dir / REJECTS_FILE, rejected)


def _on_timeout(reporter: Reporter, error: HostError) -> None:
    """Called in the watchdog's thread: the process cannot be ended politely."""
    from aurora_cli.training.processes.worker import PipeReporter, exit_now

    if isinstance(reporter, PipeReporter):
        reporter.fail(error)
    else:
        os.write(2, f"error: {error}\n".encode())
    exit_now(error.exit_code)
