"""What every process of a training run does, from meeting the others to the run's end."""

import contextlib
import functools
import json
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

from aurora_cli.config.resolve import dump_yaml, load_resolved
from aurora_cli.config.settings import Settings
from aurora_cli.console import Reporter
from aurora_cli.constants import REJECTS_FILE
from aurora_cli.errors import HostError, is_out_of_memory
from aurora_cli.io.atomic import remove, write_text
from aurora_cli.io.locks import file_lock
from aurora_cli.pipeline.train.plan import StagePlan, extent_of, plan_stage
from aurora_cli.pipeline.train.result import TrainResult, facts_of, nothing_to_do
from aurora_cli.pipeline.train.run import build_run
from aurora_cli.runs.checkpoints import best, checkpoint_name
from aurora_cli.runs.layout import (
    CHECKPOINTS,
    CONFIG_FILE,
    FINISHED_FILE,
    INITIAL,
    METRICS_FILE,
    REPORT_FILE,
    SAMPLES,
    TENSORBOARD,
)
from aurora_cli.runs.metadata import FinishedRun
from aurora_cli.training.engine import engine
from aurora_cli.training.engine.deepspeed_config import engine_name
from aurora_cli.training.processes import collectives
from aurora_cli.training.processes.heap import give_back_at_once, keep_freed_memory
from aurora_cli.training.processes.peers import Peers, lost_peers
from aurora_cli.training.processes.ranks import Rank, rank_environment, rank_from_environment
from aurora_cli.training.processes.signals import StopRequest, on_stop_signals
from aurora_cli.training.processes.worker import end_from_thread, serve
from aurora_cli.training.trainer import LoopResult

OF_AN_EARLIER_RUN = (CHECKPOINTS, INITIAL, METRICS_FILE, REJECTS_FILE, SAMPLES, TENSORBOARD, REPORT_FILE)
"""What `--resume never` removes."""


def main() -> None:
    """`python -m aurora_cli.pipeline.train CONFIG`: a worker that `aurora train` started."""
    settings = load_resolved(Path(sys.argv[1]))
    rank = rank_from_environment()
    assert rank is not None, "a worker is started with RANK and WORLD_SIZE"
    worker = replace(rank, launcher="aurora")
    serve(lambda reporter: json.dumps(asdict(train_as(worker, settings, reporter))))


def train_as(rank: Rank, settings: Settings, reporter: Reporter) -> TrainResult:
    """Train the stage as one of its processes, together with the others.

    Raises:
        AuroraError: on rank 0 alone; the other processes end in silence.
    """
    began = time.monotonic()
    if settings.train.tight_memory:
        give_back_at_once()
    alone = rank.world_size == 1 and engine_name(settings.train, rank.world_size) == "none"
    # DeepSpeed logs to stdout, which belongs to the result, and calls what torch has renamed.
    with contextlib.redirect_stdout(sys.stderr), warnings.catch_warnings(), rank_environment(rank, alone=alone):
        warnings.filterwarnings("ignore", category=FutureWarning, message=".*torch.distributed.*")
        peers = collectives.join_process_group(rank)
        on_lost = functools.partial(end_from_thread, reporter)
        try:
            with lost_peers(peers), peers.watched(settings.train.watchdog_s, on_lost):
                plan = collectives.broadcast_from_rank0(lambda: plan_stage(settings))
                if plan.finished is not None:
                    result = nothing_to_do(plan, plan.finished, rank.world_size)
                else:
                    with _alone_in_run(plan, rank):
                        result = _train(plan, rank, peers, reporter, began)
        except BaseException:
            engine.forget(failed=True)
            raise
        engine.forget()
    return result


def _train(plan: StagePlan, rank: Rank, peers: Peers, reporter: Reporter, began: float) -> TrainResult:
    """Train to the last step; `began` is when this process did, by the monotonic clock."""
    if rank.is_main:
        _clear(plan, reporter)
    stop = StopRequest()
    with on_stop_signals(stop), _memory_errors(plan):
        run = build_run(plan, rank, peers, reporter, lambda: stop.requested)
        if not plan.settings.train.tight_memory:
            keep_freed_memory()  # not before: planning millions of samples frees more than a step needs
        result = run.train()
        features = run.feature_counts()
    if rank.is_main:
        _write_finished(plan, result, run.steps)
    state = result.state
    top = best(plan.checkpoints) if rank.is_main else None
    return TrainResult(
        **facts_of(plan, rank.world_size),
        did="nothing" if state.step == plan.resume_step else "trained",
        step=state.step,
        steps=run.steps,
        resumed_from=plan.resume_step,
        loss=result.loss,
        rejected=state.samples_rejected,
        checkpoint=str(plan.checkpoints / checkpoint_name(state.step)),
        best=None if top is None else str(top.checkpoint),
        best_by=None if top is None else str(top),
        best_validation_loss=top.value if top is not None and top.metric == "validation_loss" else None,
        **({} if features is None else {f"features_{name}": value for name, value in features._asdict().items()}),
        seconds=round(time.monotonic() - began, 3),
    )


@contextlib.contextmanager
def _memory_errors(plan: StagePlan) -> Iterator[None]:
    """
    Raises:
        HostError: the memory of a device, or of this machine, does not hold the network or a step.
    """
    try:
        yield
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        first_line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise HostError(
            f"memory does not suffice for stage {plan.stage!r}: {first_line}",
            hint=f"`aurora train --stage {plan.stage} --plan` says what each engine takes. In this order: "
            "--set train.micro_batch_packs=1, --set train.gradient_checkpointing=true, --deepspeed zero3 or "
            "zero2_offload, --set train.lora.language_model.rank=16, smaller packs (--set train.pack_tokens="
            f"{plan.settings.train.pack_tokens // 2}). The same command goes on from the newest checkpoint.",
        ) from error


def _write_finished(plan: StagePlan, result: LoopResult, steps: int) -> None:
    finished = FinishedRun(
        stage=plan.stage,
        step=result.state.step,
        steps=steps,
        checkpoint=checkpoint_name(result.state.step),
        order_hash=result.state.order_hash,
        extent=extent_of(plan.settings),
    )
    finished.write(plan.run_dir / FINISHED_FILE)


@contextlib.contextmanager
def _alone_in_run(plan: StagePlan, rank: Rank) -> Iterator[None]:
    """Under a foreign launcher, rank 0 holds the run's folder; otherwise the process that the user started does."""
    if rank.launcher == "aurora" or not rank.is_main:
        yield
        return
    with file_lock(plan.run_dir, f"aurora train --stage {plan.stage}"):
        write_text(plan.run_dir / CONFIG_FILE, dump_yaml(plan.settings))
        yield


def _clear(plan: StagePlan, reporter: Reporter) -> None:
    """Remove what says that this run is over, and what comes after the point that it goes on from."""
    remove(plan.run_dir / FINISHED_FILE)
    resume = plan.settings.train.resume
    if resume == "never" and plan.checkpoints.is_dir():
        reporter.warning(f"--resume never: the earlier run in {plan.run_dir} is removed")
        for name in OF_AN_EARLIER_RUN:
            remove(plan.run_dir / name)
    if resume not in ("auto", "never"):
        step = plan.resume_step or 0
        for later in sorted(plan.checkpoints.glob("step-*")):
            if later.name > checkpoint_name(step):
                reporter.warning(f"--resume {resume}: {later}, of a later step, is removed")
                remove(later)
    if plan.start.unfinished:
        reporter.warning(f"{plan.start.name}: is of a run that has not done all its steps")
