"""What `aurora train` would do, decided before anything is touched: data, start, what an earlier run left."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.errors import DataError, UsageError
from aurora_cli.runs.checkpoints import newest
from aurora_cli.runs.find import is_free_for_a_run
from aurora_cli.runs.layout import CHECKPOINTS, FINISHED_FILE, INITIAL, METADATA_FILE
from aurora_cli.runs.metadata import RECIPE_DATA, RECIPE_START, CheckpointMetadata, Extent, FinishedRun, Recipe
from aurora_cli.runs.recipe import check_recipe, recipe_of

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

    def said(self) -> str:
        return self.base if isinstance(self.base, str) else " + ".join(self.base.values())


@dataclass(frozen=True)
class DataFolder:
    """One merged folder and its weight."""

    folder: Path
    weight: float
    rows: int


@dataclass(frozen=True)
class StagePlan:
    """A stage as it would run now."""

    settings: Settings
    run_dir: Path
    data: tuple[DataFolder, ...]
    start: Start
    resume: Path | None
    """The checkpoint to go on from; none: from the start."""
    resume_step: int | None
    finished: FinishedRun | None
    """What an earlier run came to, if it was to be as long as this one."""
    recipe: Recipe

    @property
    def stage(self) -> str:
        return self.settings.train.stage

    @property
    def checkpoints(self) -> Path:
        return self.run_dir / CHECKPOINTS


def plan_stage(settings: Settings) -> StagePlan:
    """Decide everything about a run that does not need the model.

    Raises:
        UsageError: settings that contradict each other or an earlier run.
        DataError: data, the stage before, or a checkpoint to resume is missing.
    """
    workspace = Workspace(settings.workspace)
    train = settings.train
    run_dir = run_folder(settings)
    _check_run_folder(run_dir)
    start = find_start(settings, workspace, run_dir)
    data = find_data(settings, workspace)
    recipe = whole_recipe(settings, start, data, workspace)
    resume = find_resume(settings, workspace, run_dir)
    finished = None
    if train.resume == "auto" and resume is not None:
        check_recipe(resume, recipe, train.stage)
        finished = read_finished(run_dir, extent_of(settings))
    resume_step = None if resume is None else CheckpointMetadata.read(resume / METADATA_FILE).step
    return StagePlan(settings, run_dir, data, start, resume, resume_step, finished, recipe)


def run_folder(settings: Settings) -> Path:
    """Where the stage's run is, or would be."""
    workspace, train = Workspace(settings.workspace), settings.train
    return workspace.path(train.run_dir) if train.run_dir else workspace.run(train.stage)


def _check_run_folder(run_dir: Path) -> None:
    """
    Raises:
        UsageError: it is a file, or a folder of something else, which a run's files would be mixed with.
    """
    if run_dir.exists() and not run_dir.is_dir():
        raise UsageError(f"train.run_dir: {run_dir} is a file, where a run's folder was expected")
    if not is_free_for_a_run(run_dir):
        raise UsageError(
            f"train.run_dir: {run_dir} holds something else than a run",
            hint="Name a new or empty folder, or the folder of an earlier run.",
        )


def find_data(settings: Settings, workspace: Workspace) -> tuple[DataFolder, ...]:
    """The merged folders of the stage, and that each can be read."""
    from aurora_cli.data.batches.corpus import split_weight
    from aurora_cli.data.token_store.store import open_store

    train = settings.train
    named = [split_weight(text) for text in train.data]
    folders = [(workspace.path(name), weight) for name, weight in named] or [
        (folder, 1.0) for folder in sorted(workspace.tokenized.glob(f"{train.stage}/*/merged")) if folder.is_dir()
    ]
    if not folders:
        raise DataError(
            f"{workspace.tokenized / train.stage}: has no merged shards to train on",
            hint=_way_to_data(workspace, train.stage),
        )
    for folder, _ in folders:
        if not folder.is_dir():
            raise DataError(
                f"{folder}: there is no such folder of merged shards", hint=_way_to_data(workspace, train.stage)
            )
    found = tuple(DataFolder(folder, weight, open_store(folder).num_rows) for folder, weight in folders)
    if not sum(folder.rows for folder in found):
        raise DataError(f"{', '.join(str(one.folder) for one in found)}: hold no samples")
    return found


def _way_to_data(workspace: Workspace, stage: str) -> str:
    """The command that brings a stage's data nearest to being there."""
    if any(workspace.tokenized.glob(f"{stage}/*/shards")):
        return "Make them: aurora merge-shards"
    if any((workspace.data / stage).glob("*/*.json*")):
        return f"Make them: aurora tokenize --split {stage} && aurora merge-shards"
    return f"Begin with: aurora download --split {stage}"


def find_start(settings: Settings, workspace: Workspace, run_dir: Path) -> Start:
    """Where the first step's weights come from: `init_from`, the stage before, chance, or the preset's models."""
    train, model = settings.train, settings.model
    if train.init_from:
        path = workspace.path(train.init_from)
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


def find_resume(settings: Settings, workspace: Workspace, run_dir: Path) -> Path | None:
    """The checkpoint that `train.resume` means."""
    wish = settings.train.resume
    if wish == "never":
        return None
    if wish == "auto":
        return newest(run_dir / CHECKPOINTS)
    path = workspace.path(wish)
    if (path / CHECKPOINTS).is_dir():
        path = newest(path / CHECKPOINTS) or path
    if not (path / METADATA_FILE).is_file():
        raise DataError(
            f"train.resume: {path} is not a checkpoint",
            hint="auto, never, or a folder like runs/<stage>/checkpoints/step-00000100",
        )
    return path


def whole_recipe(settings: Settings, start: Start, data: tuple[DataFolder, ...], workspace: Workspace) -> Recipe:
    """All that the run's numbers depend on: settings, start and data."""
    return {
        **recipe_of(settings),
        RECIPE_START: start.base if isinstance(start.base, str) else {**start.base},
        RECIPE_DATA: [[workspace.relative(one.folder), one.weight, one.rows] for one in data],
    }


def extent_of(settings: Settings) -> Extent:
    """How long the run is to be."""
    return Extent(epochs=settings.train.epochs, max_steps=settings.train.max_steps)


def read_finished(run_dir: Path, extent: Extent) -> FinishedRun | None:
    """What a finished run came to, if it was as long as `extent`."""
    finished = FinishedRun.read_if_there(run_dir / FINISHED_FILE)
    return finished if finished is not None and finished.extent == extent else None
