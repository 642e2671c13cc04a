"""`aurora train`: one stage, on one process or many.

The process that a user starts decides and checks, without torch; then it trains by itself, or starts workers on the
config.yaml that it wrote (`python -m aurora_cli.pipeline.train CONFIG`). Under torchrun, accelerate, deepspeed or srun
every process is a worker. What they do is in `process.py`.
"""

import contextlib
import json
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from aurora_cli.config.resolve import dump_yaml
from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.data.batches.sampler import accumulation
from aurora_cli.errors import EXIT_OK, AuroraError, DataError, Interrupted
from aurora_cli.imports import imported_at_once, without_compiler
from aurora_cli.io.atomic import write_text
from aurora_cli.io.locks import file_lock
from aurora_cli.pipeline.train.captions.check import check_keep_best
from aurora_cli.pipeline.train.data_folders import DataFolder, find_data, unmeasured
from aurora_cli.pipeline.train.distill import check_distill
from aurora_cli.pipeline.train.estimate.limit import check_fit
from aurora_cli.pipeline.train.features.check import check_features, check_train_scratch
from aurora_cli.pipeline.train.plan import plan_stage, run_folder
from aurora_cli.pipeline.train.result import TrainResult, facts_of, nothing_to_do
from aurora_cli.pipeline.train.run_callbacks import options_in
from aurora_cli.runs.layout import CONFIG_FILE, LOGS
from aurora_cli.runs.recipe import RECIPE_SECTIONS
from aurora_cli.training.callbacks.trackers import check_trackers
from aurora_cli.training.engine.deepspeed_config import engine_name, read_config
from aurora_cli.training.processes import worker
from aurora_cli.training.processes.devices import gpu_count
from aurora_cli.training.processes.launcher import run_workers
from aurora_cli.training.processes.ranks import Rank, free_port, rank_from_environment, use_passive_openmp
from aurora_cli.training.quantized import check_quantized
from aurora_cli.training.trained_parts import adapted_parts, trained_parts

if TYPE_CHECKING:
    from aurora_cli.pipeline.train.estimate.fit_result import FitResult
    from aurora_cli.pipeline.train.estimate.result import TrainEstimate


def run(
    settings: Settings,
    reporter: Reporter = SILENT,
    *,
    dry_run: bool = False,
    in_workers: bool = False,
    trained_before: frozenset[str] = frozenset(),
) -> "TrainResult | TrainEstimate | FitResult":
    """Train `settings.train.stage`, or say that it is trained.

    With `in_workers` one process, too, is a worker of its own; `trained_before` names stages that a dry run or a plan
    takes for trained.

    Raises:
        UsageError: settings that cannot be, alone or beside what is there.
        DataError: what the stage needs is missing or damaged, or the run must not go on.
        HostError: processes do not meet, hang or are killed; the disk is full.
        Interrupted: stopped; the state is saved.
    """
    use_passive_openmp()
    rank = rank_from_environment()
    processes = processes_of(settings, rank)
    check_settings(settings, processes)
    if settings.train.fit is not None:
        from aurora_cli.pipeline.train.estimate.fit import fit_stage  # with torch

        return fit_stage(settings, processes, trained_before, reporter, writes=not dry_run)
    if settings.train.plan:
        from aurora_cli.pipeline.train.estimate.estimate import estimate_stage  # with torch

        return estimate_stage(settings, processes, trained_before)
    if dry_run:
        return _dry_result(settings, processes, trained_before, in_workers=in_workers)
    if rank is not None:
        return _run_as_worker(settings, rank, reporter)
    plan = plan_stage(settings)
    if plan.finished is not None:
        return nothing_to_do(plan, plan.finished, processes)
    with file_lock(plan.run_dir, f"aurora train --stage {plan.stage}"):
        write_text(plan.run_dir / CONFIG_FILE, dump_yaml(settings))
        if processes == 1 and not in_workers:
            return _train_as(Rank(master_port=free_port()), settings, reporter)
        logs = plan.run_dir / LOGS
        reporter.info(f"{processes} process{'es' if processes > 1 else ''}; their output: {logs}")
        command = worker_command(plan.run_dir / CONFIG_FILE)
        return TrainResult(**json.loads(run_workers(command, processes, logs=logs, reporter=reporter)))


def processes_of(settings: Settings, rank: Rank | None) -> int:
    """How many there are, or will be."""
    return rank.world_size if rank is not None else settings.train.num_processes or max(1, gpu_count())


def check_settings(settings: Settings, processes: int) -> None:
    """Find all that makes a run impossible and needs nothing but the settings.

    Raises:
        UsageError: there is something.
    """
    train = settings.train
    trained_parts(train)
    adapted_parts(train)
    check_features(settings)
    check_train_scratch(settings)
    check_distill(settings)
    check_fit(settings)
    check_quantized(train, engine_name(train, processes))
    check_trackers(train.trackers)
    options_in(train.callbacks)
    check_keep_best(settings)
    accumulation(train.global_batch_packs, processes, train.micro_batch_packs)
    read_config(engine_name(train, processes), settings.workspace)


def _train_as(rank: Rank, settings: Settings, reporter: Reporter) -> TrainResult:
    is_alone = rank.world_size == 1 and engine_name(settings.train, rank.world_size) == "none"
    # Optimizers ask for the compiler, too, to be left alone by it: it stays away until the run ends.
    with without_compiler() if is_alone else contextlib.nullcontext():
        with imported_at_once():
            from aurora_cli.pipeline.train.process import train_as  # with torch

        return train_as(rank, settings, reporter)


def _run_as_worker(settings: Settings, rank: Rank, reporter: Reporter) -> TrainResult:
    """One process of a launcher's. Rank 0 returns to its caller; the others end here, so that one alone speaks."""
    try:
        result = _train_as(rank, settings, reporter if rank.is_main else SILENT)
    except Interrupted as error:
        if rank.is_main:
            raise
        worker.exit_now(error.exit_code)
    if not rank.is_main:
        worker.exit_now(result.exit_code)
    return result


def _dry_result(settings: Settings, processes: int, trained_before: frozenset[str], *, in_workers: bool) -> TrainResult:
    """What would be done, or why it cannot be."""
    run_dir = run_folder(settings)
    launch = tuple(_launch_lines(run_dir / CONFIG_FILE, processes, in_workers=in_workers))
    shown = settings.model_dump(mode="json", include={*RECIPE_SECTIONS, "checkpoint"})
    try:
        plan = plan_stage(settings, trained_before)
    except AuroraError as error:
        folders = _folders_there(settings)
        return TrainResult(
            stage=settings.train.stage,
            run_dir=str(run_dir),
            start=_start_wanted(settings),
            data=[str(one.folder) for one in folders] or list(settings.train.data),
            samples=sum(one.rows for one in folders),
            processes=processes,
            engine=engine_name(settings.train, processes),
            launch=launch,
            problem=str(error),
            problem_code=error.exit_code if isinstance(error, DataError) else EXIT_OK,
            did="dry run",
            settings=shown,
        )
    problem = None if plan.finished is None else "all its steps are done; nothing to do"
    return TrainResult(
        **facts_of(plan, processes),
        resumed_from=plan.resume_step,
        launch=launch,
        problem=problem,
        notes=unmeasured(settings, Workspace(settings.workspace)),
        did="dry run",
        settings=shown,
    )


def _folders_there(settings: Settings) -> tuple[DataFolder, ...]:
    try:
        return find_data(settings, Workspace(settings.workspace))
    except AuroraError:
        return ()


def _start_wanted(settings: Settings) -> str:
    """Where the run would start, were all there that is missing."""
    train, model = settings.train, settings.model
    if train.init_from or train.after:
        return train.init_from or str(Workspace(settings.workspace).run(str(train.after)))
    return "random weights" if model.vision_config else f"{model.vision_tower} + {model.language_model}"


def _launch_lines(config: Path, processes: int, *, in_workers: bool) -> Iterator[str]:
    """The exact commands, one for each process."""
    command = shlex.join(worker_command(config))
    if processes == 1 and not in_workers:
        yield f"{command}    (done by this process itself)"
        return
    for number in range(processes):
        variables = Rank(number, number, processes).environment() | {"MASTER_PORT": "<a free one>"}
        yield f"{' '.join(f'{name}={value}' for name, value in variables.items())} {command}"


def worker_command(config: Path) -> list[str]:
    """One worker, to be started with a `Rank.environment()`."""
    return [sys.executable, "-m", "aurora_cli.pipeline.train", str(config)]
