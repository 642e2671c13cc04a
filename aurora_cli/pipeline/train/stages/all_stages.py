"""`aurora train --stage all`: the stages of the preset, each as by itself, one after another.

Each stage is a process of its own, or several: what one leaves in memory is gone before the next begins. All of them
are planned before the first begins, so that nothing which is wrong with the last is found after days.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from aurora_cli.config.resolve import Resolved, each_stage
from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import Reporter
from aurora_cli.errors import AuroraError, Interrupted, UsageError
from aurora_cli.pipeline.result import Result
from aurora_cli.pipeline.train import command
from aurora_cli.pipeline.train.features.check import why_no_features
from aurora_cli.pipeline.train.plan import plan_stage, run_folder
from aurora_cli.pipeline.train.stages.stage_settings import stage_settings
from aurora_cli.runs.layout import REPORT_FILE
from aurora_cli.training.processes.ranks import rank_from_environment


@dataclass(frozen=True)
class AllStagesResult(Result):
    """What each stage came to, or would."""

    stages: tuple[Result, ...]
    report: str | None = None
    """The page of all of them."""

    def lines(self) -> list[str]:
        lines: list[str] = []
        for stage in self.stages:
            own = stage.lines()
            if lines and len(own) > 1:
                lines.append("")
            lines += own
        return [*lines, *([f"all stages, to look at: {self.report}"] if self.report else [])]

    @property
    def exit_code(self) -> int:
        return max(stage.exit_code for stage in self.stages)


def run_all(resolved: Resolved, reporter: Reporter, *, dry_run: bool) -> AllStagesResult:
    """Train each stage that is not trained yet.

    Raises:
        UsageError: a setting is meant for one stage; or one of the stages cannot be.
        DataError: data of one of the stages are missing.
        Interrupted: stopped; the hint says which stage goes on.
    """
    stages = _each(resolved)
    _check(resolved.settings, tuple(stages))
    looks_only = dry_run or resolved.settings.train.plan
    names = tuple(stages)
    if not looks_only:
        for number, (name, one) in enumerate(stages.items()):
            _check_stage(name, one, frozenset(names[:number]))
    folders = {name: run_folder(one.settings) for name, one in stages.items()}
    with reporter.stages(folders):
        results = tuple(_results(resolved.settings, stages, reporter, dry_run=dry_run, looks_only=looks_only))
    page = Workspace(resolved.settings.workspace).runs / REPORT_FILE
    return AllStagesResult(results, str(page) if page.exists() and not looks_only else None)


def _results(
    given: Settings, stages: Mapping[str, Resolved], reporter: Reporter, *, dry_run: bool, looks_only: bool
) -> Iterator[Result]:
    """What each stage comes to, one after another."""
    names = tuple(stages)
    for number, (name, one) in enumerate(stages.items()):
        if not looks_only:
            reporter.info(f"stage {name} ({number + 1} of {len(stages)})")
        trained_before = frozenset(names[:number]) if looks_only else frozenset()
        own = stage_settings(one)
        for line in (*own.lines(), *_left_out(given, own.settings)):
            reporter.info(line)
        try:
            yield command.run(own.settings, reporter, dry_run=dry_run, in_workers=True, trained_before=trained_before)
        except Interrupted as error:
            raise Interrupted(error.message, hint=_what_comes(name, names)) from None


def _each(resolved: Resolved) -> dict[str, Resolved]:
    """The stages by name. Weights to start from are for the first: the others start from the stage before. Features are
    kept where the tower is frozen."""
    stages = {}
    for number, one in enumerate(each_stage(resolved)):
        settings = one.settings
        changes: dict[str, bool | None] = {"init_from": None} if number else {}
        if why_no_features(settings) is not None:
            changes["cache_features"] = False
        settings = settings.model_copy(update={"train": settings.train.model_copy(update=changes)})
        stages[settings.train.stage] = replace(one, settings=settings)
    return stages


def _left_out(given: Settings, own: Settings) -> list[str]:
    """What a stage leaves out of what is meant for all."""
    reason = why_no_features(own)
    if not given.train.cache_features or reason is None:
        return []
    return [f"stage {own.train.stage} {reason}: it keeps no features"]


def _check_stage(name: str, one: Resolved, trained_before: frozenset[str]) -> None:
    """
    Raises:
        AuroraError: the stage could not run after the others; the message names it.
    """
    try:
        settings = stage_settings(one).settings
        command.check_settings(settings, command.processes_of(settings, None))
        plan_stage(settings, trained_before)
    except AuroraError as error:
        raise type(error)(f"stage {name!r}: {error.message}", hint=error.hint) from error


def _check(settings: Settings, stages: tuple[str, ...]) -> None:
    train = settings.train
    if train.run_dir is not None:
        raise UsageError(
            f"train.run_dir: {train.run_dir} is one folder, and each of {', '.join(stages)} needs its own",
            hint="Leave it out: they write runs/<stage>. Another workspace: --workspace DIR",
        )
    if train.resume not in ("auto", "never"):
        raise UsageError(
            f"train.resume: {train.resume} is of one stage", hint=f"aurora train --stage STAGE --resume {train.resume}"
        )
    if train.write is not None:
        raise UsageError(
            f"train.write: {train.write} is one file, and each of {', '.join(stages)} has its own settings",
            hint=f"aurora train --stage STAGE --plan --fit {train.fit} --write {train.write}",
        )
    if (rank := rank_from_environment()) is not None:
        lines = "\n".join(f"  ... train --stage {stage}" for stage in stages)
        raise UsageError(
            f"--stage all starts processes by itself, and {rank.launcher} has started this one",
            hint=f"On one machine: aurora train --stage all --num-processes {rank.world_size}\n"
            f"Under it, one after another:\n{lines}",
        )


def _what_comes(stage: str, stages: tuple[str, ...]) -> str:
    later = stages[stages.index(stage) + 1 :]
    then = f"; then come {', '.join(later)}" if later else ", the last one"
    return f"The same command goes on with stage {stage}{then}."
