"""Which folder is a run, and which run is meant where nobody says."""

from pathlib import Path

from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.constants import STAGES
from aurora_cli.errors import DataError
from aurora_cli.io.atomic import PARTIAL_SUFFIX
from aurora_cli.io.locks import LOCK_FILE
from aurora_cli.runs.layout import CHECKPOINTS, CONFIG_FILE, FINISHED_FILE, INITIAL, METRICS_FILE

SIGNS = (CONFIG_FILE, METRICS_FILE, CHECKPOINTS)
"""A folder that has one of these is a run."""


def is_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in SIGNS)


def is_free_for_a_run(folder: Path) -> bool:
    """Whether nothing is there but a run, its beginning, or what one leaves that was stopped at its first file."""
    if not folder.exists() or is_run(folder):
        return True
    first = (f".{CONFIG_FILE}{PARTIAL_SUFFIX}", INITIAL)
    return all(path.name in first or path.name.startswith(LOCK_FILE) for path in folder.iterdir())


def newest_finished_run(workspace: Workspace) -> Path:
    """The run of the workspace that came to its end last.

    Raises:
        DataError: there is none; the hint is the command that makes one.
    """
    runs = workspace.runs
    finished = sorted(runs.glob(f"*/{FINISHED_FILE}"), key=lambda file: (file.stat().st_mtime_ns, _stage(file)))
    if finished:
        return finished[-1].parent.relative_to(workspace.root)
    begun = sorted((folder for folder in runs.glob(f"*/{CHECKPOINTS}")), key=_stage)
    if begun:
        run = begun[-1].parent
        raise DataError(
            f"no run in {runs} has finished",
            hint=f"`aurora train --stage {run.name}` goes on; `aurora convert runs/{run.name}` takes it as it is.",
        )
    raise DataError(f"{runs}: there is no run to convert", hint=f"aurora train --stage {STAGES[0]}")


def _stage(path: Path) -> int:
    """The place of a run's stage in their order; other stages come last."""
    name = path.parent.name
    return STAGES.index(name) if name in STAGES else len(STAGES)


def find_model(workspace: Workspace, reporter: Reporter = SILENT) -> Path:
    """The workspace's export in the huggingface layout, else its newest run.

    Raises:
        DataError: there is neither; the hint is the command that makes one.
    """
    export = workspace.export("huggingface")
    try:
        newest = newest_finished_run(workspace)
    except DataError as error:
        newest = None
        if not export.is_dir():
            raise DataError(
                f"there is no model here: no {export} and no run that has finished", hint=error.hint
            ) from error
    if not export.is_dir():
        assert newest is not None
        return newest
    if newest is not None:
        finished = workspace.root / newest / FINISHED_FILE
        if finished.stat().st_mtime > (export / "config.json").stat().st_mtime:
            reporter.warning(
                f"{newest} is newer than {export}: `aurora convert --format huggingface` brings it up to date"
            )
    return export.relative_to(workspace.root)
