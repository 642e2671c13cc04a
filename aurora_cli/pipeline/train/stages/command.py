"""`aurora train`: one stage, or with `--stage all` every stage of the preset, in order."""

from aurora_cli.config.resolve import Resolved
from aurora_cli.console import SILENT, Reporter
from aurora_cli.constants import ALL_STAGES
from aurora_cli.pipeline.result import Result
from aurora_cli.pipeline.train import command
from aurora_cli.pipeline.train.stages.all_stages import run_all
from aurora_cli.pipeline.train.stages.stage_settings import stage_settings
from aurora_cli.training.processes.ranks import rank_from_environment


def run(resolved: Resolved, reporter: Reporter = SILENT, *, dry_run: bool = False) -> Result:
    """Train the stage, or say that it is trained; or do so with each. Exceptions are those of `train.command.run`."""
    if resolved.settings.train.stage == ALL_STAGES:
        return run_all(resolved, reporter, dry_run=dry_run)
    own = stage_settings(resolved)
    rank = rank_from_environment()
    for line in own.lines() if rank is None or rank.is_main else ():
        reporter.info(line)
    return command.run(own.settings, reporter, dry_run=dry_run)
