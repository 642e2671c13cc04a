"""`aurora train`: one stage, on one process or many.

The process that a user starts decides and checks; then it trains by itself, or starts workers on the config.yaml
that it wrote (`python -m aurora_cli.pipeline.train CONFIG`). Under torchrun, accelerate, deepspeed or srun every
process is a worker.
"""

import contextlib
import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aurora_cli.config.resolve import dump_yaml, load_resolved
from aurora_cli.config.settings import Settings
from aurora_cli.console import SILENT, Reporter
from aurora_cli.constants import REJECTS_FILE
from aurora_cli.errors import AuroraError
from aurora_cli.io.atomic import file_lock, remove, write_text
from aurora_cli.pipeline.train.plan import StagePlan, extent_of, plan_stage, run_folder
from aurora_cli.pipeline.train.result import TrainResult
from aurora_cli.runs.checkpoints import checkpoint_name
from aurora_cli.runs.layout import (
    CHECKPOINTS,
    CONFIG_FILE,
    FINISHED_FILE,
    INITIAL,
    LOGS,
    METRICS_FILE,
    REPORT_FILE,
    SAMPLES,
    TENSORBOARD,
)
from aurora_cli.runs.metadata import FinishedRun, TrainState

if TYPE_CHECKING:
    from aurora_cli.pipeline.train.estimate import TrainPlan
    from aurora_cli.training.processes.ranks import Rank


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> "TrainResult | TrainPlan":
    """Train `settings.train.stage`, or say that it is trained."""
    from aurora_cli.training.processes.ranks import rank_from_environment, use_passive_openmp

    use_passive_openmp()
    rank = rank_from_environment()
    if settings.train.plan:
        from aurora_cli.pipeline.train.estimate import plan_run

        processes = rank.world_size if rank is not None else _processes(settings)
        _check_sizes(settings, processes)
        return plan_run(settings, processes)
    if dry_run:
        return _dry_result(settings, rank)
    if rank is not None:
        return _run_as_worker(settings, rank, reporter)
    processes = _processes(settings)
    _check_sizes(settings, processes)
    plan = plan_stage(settings)
    if plan.finished is not None:
        return _nothing_to_do(plan, processes)
    with file_lock(plan.run_dir, f"aurora train --stage {plan.stage}"):
        write_text(plan.run_dir / CONFIG_FILE, dump_yaml(settings))
        if processes == 1:
            from aurora_cli.training.processes.ranks import Rank, free_port

            return _train(settings, Rank(master_port=free_port()), reporter)
        from aurora_cli.training.processes.launcher import run_workers

        command = worker_command(plan.run_dir / CONFIG_FILE)
        reporter.info(f"{processes} processes; their output: {plan.run_dir / LOGS}")
        said = run_workers(command, processes, logs=plan.run_dir / LOGS, reporter=reporter)
        return TrainResult(**said)


def _run_as_worker(settings: Settings, rank: "Rank", reporter: Reporter) -> TrainResult:
    """One process of a launcher's. Rank 0 returns to its caller; the others end here, so that one alone speaks."""
    from aurora_cli.errors import Interrupted
    from aurora_cli.training.processes import worker

    _check_sizes(settings, rank.world_size)
    if not rank.is_main:
        reporter = SILENT
    try:
        result = _train(settings, rank, reporter)
    except Interrupted as error:
        if not rank.is_main:
            worker.exit_now(error.exit_code)
        raise
    if not rank.is_main:
        worker.exit_now(result.exit_code)
    return result


def main() -> None:
    """`python -m aurora_cli.pipeline.train CONFIG`: a worker that `run` started."""
    from aurora_cli.training.processes.ranks import rank_from_environment
    from aurora_cli.training.processes.worker import serve

    settings = load_resolved(Path(sys.argv[1]))
    rank = rank_from_environment()
    assert rank is not None, "a worker is started with RANK and WORLD_SIZE"
    ours = replace(rank, launcher="aurora")
    serve(lambda reporter: asdict(_train(settings, ours, reporter)))


def _train(settings: Settings, rank: "Rank", reporter: Reporter) -> TrainResult:
    """What every process of a run does."""
    from aurora_cli.pipeline.train.run import train_stage
    from aurora_cli.training.engine import engine
    from aurora_cli.training.engine.deepspeed_config import engine_name
    from aurora_cli.training.processes import collectives
    from aurora_cli.training.processes.ranks import placed

    began = time.monotonic()
    name = engine_name(settings.train, rank.world_size)
    # DeepSpeed logs to stdout, which belongs to the result, and calls what torch has renamed.
    with (
        contextlib.redirect_stdout(sys.stderr),
        warnings.catch_warnings(),
        placed(rank, alone=rank.world_size == 1 and name == "none"),
    ):
        warnings.filterwarnings("ignore", category=FutureWarning, message=".*torch.distributed.*")
        collectives.join_process_group(rank)
        try:
            plan = collectives.broadcast_from_rank0(lambda: plan_stage(settings))
            if plan.finished is not None:
                engine.forget()
                return _nothing_to_do(plan, rank.world_size)
            with _alone_in_run(plan, rank):
                if rank.is_main:
                    _clear(plan, reporter)
                outcome, steps = train_stage(plan, rank, name, reporter)
                if rank.is_main:
                    _write_finished(plan, outcome.position, steps)
        except BaseException:
            engine.forget(failed=True)
            raise
        engine.forget()
    position = outcome.position
    return TrainResult(
        **_facts(plan, rank.world_size),
        did="nothing" if position.step == plan.resume_step else "trained",
        step=position.step,
        steps=steps,
        resumed_from=plan.resume_step,
        loss=outcome.loss,
        rejected=position.samples_rejected,
        checkpoint=str(plan.checkpoints / checkpoint_name(position.step)),
        seconds=round(time.monotonic() - began, 3),
    )


def _write_finished(plan: StagePlan, position: TrainState, steps: int) -> None:
    finished = FinishedRun(
        stage=plan.stage,
        step=position.step,
        steps=steps,
        checkpoint=checkpoint_name(position.step),
        order_hash=position.order_hash,
        extent=extent_of(plan.settings),
    )
    finished.write(plan.run_dir / FINISHED_FILE)


@contextlib.contextmanager
def _alone_in_run(plan: StagePlan, rank: "Rank") -> Iterator[None]:
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
    wish = plan.settings.train.resume
    if wish == "never" and plan.checkpoints.is_dir():
        reporter.warning(f"--resume never: the earlier run in {plan.run_dir} is removed")
        for name in (CHECKPOINTS, INITIAL, METRICS_FILE, REJECTS_FILE, SAMPLES, TENSORBOARD, REPORT_FILE):
            remove(plan.run_dir / name)
    if wish not in ("auto", "never"):
        step = plan.resume_step or 0
        for later in sorted(plan.checkpoints.glob("step-*")):
            if later.name > checkpoint_name(step):
                reporter.warning(f"--resume {wish}: {later}, of a later step, is removed")
                remove(later)
    if plan.start.unfinished:
        reporter.warning(f"{plan.start.said()}: is of a run that has not done all its steps")


def _processes(settings: Settings) -> int:
    from aurora_cli.training.processes.ranks import default_processes

    return settings.train.num_processes or default_processes()


def _check_sizes(settings: Settings, processes: int) -> None:
    """Everything that makes a run impossible and needs nothing but the settings."""
    from aurora_cli.data.batches.sampler import accumulation
    from aurora_cli.training.callbacks.trackers import check_trackers
    from aurora_cli.training.engine.deepspeed_config import engine_name, read_config
    from aurora_cli.training.lora import adapted_parts
    from aurora_cli.training.optim import trained_modules

    train = settings.train
    trained_modules(train)
    adapted_parts(train)
    check_trackers(train.trackers)
    accumulation(train.global_batch_packs, processes, train.micro_batch_packs)
    read_config(engine_name(train, processes), settings.workspace)


def _facts(plan: StagePlan, processes: int) -> dict[str, Any]:
    from aurora_cli.training.engine.deepspeed_config import engine_name

    return {
        "stage": plan.stage,
        "run_dir": str(plan.run_dir),
        "start": plan.start.said(),
        "data": [f"{one.folder}" + (f":{one.weight:g}" if one.weight != 1 else "") for one in plan.data],
        "samples": sum(one.rows for one in plan.data),
        "processes": processes,
        "engine": engine_name(plan.settings.train, processes),
    }


def _nothing_to_do(plan: StagePlan, processes: int) -> TrainResult:
    assert plan.finished is not None
    return TrainResult(
        **_facts(plan, processes),
        did="nothing",
        step=plan.finished.step,
        steps=plan.finished.steps,
        checkpoint=str(plan.checkpoints / plan.finished.checkpoint),
    )


def _dry_result(settings: Settings, rank: "Rank | None") -> TrainResult:
    from aurora_cli.training.engine.deepspeed_config import engine_name

    processes = rank.world_size if rank is not None else _processes(settings)
    _check_sizes(settings, processes)
    shared: dict[str, Any] = {
        "did": "dry run",
        "settings": settings.model_dump(mode="json", include={"model", "merging", "train", "data", "checkpoint"}),
    }
    train = settings.train
    run_dir = run_folder(settings)
    launch = tuple(_launch_lines(run_dir / CONFIG_FILE, processes))
    try:
        plan = plan_stage(settings)
    except AuroraError as error:
        return TrainResult(
            stage=train.stage,
            run_dir=str(run_dir),
            start="unknown",
            data=list(train.data),
            samples=0,
            processes=processes,
            engine=engine_name(train, processes),
            launch=launch,
            problem=str(error),
            **shared,
        )
    problem = None if plan.finished is None else "all its steps are done; nothing to do"
    return TrainResult(
        **_facts(plan, processes), resumed_from=plan.resume_step, launch=launch, problem=problem, **shared
    )


def _launch_lines(config: Path, processes: int) -> Iterator[str]:
    """The exact commands, one for each process."""
    import shlex

    from aurora_cli.training.processes.ranks import Rank

    command = shlex.join(worker_command(config))
    if processes == 1:
        yield f"{command}    (done by this process itself)"
        return
    for number in range(processes):
        variables = Rank(number, number, processes).environment() | {"MASTER_PORT": "<a free one>"}
        yield f"{' '.join(f'{name}={value}' for name, value in variables.items())} {command}"


def worker_command(config: Path) -> list[str]:
    """One worker, to be started with a `Rank.environment()`."""
    return [sys.executable, "-m", "aurora_cli.pipeline.train", str(config)]
