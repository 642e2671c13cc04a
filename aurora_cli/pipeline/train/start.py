"""Where the weights of a run's first step come from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aurora_cli.checkpoints.locate import check_name
from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.errors import DataError, UsageError
from aurora_cli.io.urls import is_url, scheme_of
from aurora_cli.runs.checkpoints import newest, pointed
from aurora_cli.runs.layout import CHECKPOINTS, FINISHED_FILE, INITIAL

WORKSPACE_FOLDERS = ("runs/", "export/", ".", "/", "~")
"""A name that begins so is a folder's, and no hub id."""


@dataclass(frozen=True)
class Start:
    """Where the weights of a run's first step come from."""

    kind: Literal["checkpoint", "models", "random"]
    base: str | dict[str, str]
    """As checkpoints name it: a path or hub id, or the hub ids of the parts."""
    unfinished: bool = False
    """The stage that it comes from has not done all its steps."""

    @property
    def name(self) -> str:
        """As messages name it."""
        return self.base if isinstance(self.base, str) else " + ".join(self.base.values())


def find_start(
    settings: Settings, workspace: Workspace, run_dir: Path, trained_before: frozenset[str] = frozenset()
) -> Start:
    """Where the first step's weights come from: `init_from`, the stage before, chance, or the preset's models.

    `trained_before` names stages that will have been trained by then. A URL is fetched by who opens it.

    Raises:
        DataError: what is named is not there, or not whole.
        UsageError: it is an address that nobody reads.
    """
    train, model = settings.train, settings.model
    if train.init_from and scheme_of(train.init_from) is not None:
        if not is_url(train.init_from):
            check_name(train.init_from)
        return Start("checkpoint", train.init_from)
    if train.init_from:
        path = pointed(workspace.path(train.init_from))
        if not path.exists():
            looks_like_folder = train.init_from.startswith(WORKSPACE_FOLDERS) or path.parent.exists()
            if looks_like_folder or train.init_from.count("/") != 1:
                raise DataError(f"train.init_from: {train.init_from}: there is no such folder, nor can it be a hub id")
            return Start("checkpoint", train.init_from)
        if (path / CHECKPOINTS).is_dir():
            return _start_from_run(path, workspace)
        return Start("checkpoint", workspace.relative(path))
    if train.after:
        path = workspace.run(train.after)
        if not (path / CHECKPOINTS).is_dir() and train.after in trained_before:
            return Start("checkpoint", workspace.relative(path))
        if not (path / CHECKPOINTS).is_dir():
            raise DataError(
                f"{path}: stage {train.stage!r} starts from stage {train.after!r}, which has not been trained",
                hint=f"aurora train --stage {train.after}    (or name other weights by --init-from)",
            )
        return _start_from_run(path, workspace)
    if (model.vision_config is None) != (model.text_config is None):
        raise UsageError("model.vision_config and model.text_config go together: give both, or neither")
    if model.vision_config is not None:
        return Start("random", workspace.relative(run_dir / INITIAL))
    if train.projector is None:
        raise UsageError(
            f"stage {train.stage!r} starts from {model.vision_tower} and {model.language_model} with a new projector,"
            " and does not train it",
            hint="Give it a rate (--set train.projector.lr=2e-4), or start from trained weights by --init-from.",
        )
    return Start("models", {"vision_tower": model.vision_tower, "language_model": model.language_model})


def _start_from_run(run: Path, workspace: Workspace) -> Start:
    checkpoint = newest(run / CHECKPOINTS)
    if checkpoint is None:
        raise DataError(f"{run}: has no checkpoint yet", hint=f"aurora train --stage {run.name}")
    return Start("checkpoint", workspace.relative(checkpoint), unfinished=not (run / FINISHED_FILE).is_file())
