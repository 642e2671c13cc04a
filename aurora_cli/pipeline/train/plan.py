"""What `aurora train` would do, decided before anything is touched: data, start, what an earlier run left."""

from dataclasses import dataclass
from pathlib import Path

from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace, check_folder
from aurora_cli.data.batches.validation import ValidationBy
from aurora_cli.data.media.root import check_root
from aurora_cli.errors import DataError, UsageError
from aurora_cli.io.urls import is_url
from aurora_cli.pipeline.train.captions.check import check_evaluated
from aurora_cli.pipeline.train.data_folders import DataFolder, find_data, find_validation
from aurora_cli.pipeline.train.start import Start, find_start
from aurora_cli.runs.checkpoints import newest, pointed
from aurora_cli.runs.find import is_free_for_a_run
from aurora_cli.runs.layout import CHECKPOINTS, FINISHED_FILE, METADATA_FILE, RESUME_FOLDER, STATE_FILE
from aurora_cli.runs.metadata import (
    RECIPE_DATA,
    RECIPE_START,
    RECIPE_VALIDATION,
    CheckpointMetadata,
    Extent,
    FinishedRun,
    Recipe,
    TrainState,
)
from aurora_cli.runs.recipe import check_recipe, recipe_of
from aurora_cli.runs.stored_checkpoints import fetch_checkpoint


@dataclass(frozen=True)
class StagePlan:
    """A stage as it would run now."""

    settings: Settings
    run_dir: Path
    data: tuple[DataFolder, ...]
    validation: tuple[DataFolder, ...]
    """Folders that are not trained on, and measured."""
    start: Start
    resume: Path | None
    """The checkpoint to go on from; none: from the start."""
    resume_step: int | None
    finished: FinishedRun | None
    """What an earlier run came to, if it was to be as long as this one."""
    recipe: Recipe

    @property
    def validation_by(self) -> ValidationBy:
        """What keeps samples on one side of `data.validation_share`; a run goes on as it was begun."""
        return "medium" if RECIPE_VALIDATION in self.recipe else "row"

    @property
    def fits_projector(self) -> bool:
        """Whether the run begins with a new projector that is fitted to its data."""
        fitted = self.settings.train.projector_start == "fitted"
        return fitted and self.start.kind == "models" and self.resume is None

    @property
    def stage(self) -> str:
        return self.settings.train.stage

    @property
    def checkpoints(self) -> Path:
        return self.run_dir / CHECKPOINTS


def plan_stage(settings: Settings, trained_before: frozenset[str] = frozenset()) -> StagePlan:
    """Decide everything about a run that does not need the model; `trained_before` as in `find_start`.

    Raises:
        UsageError: settings that contradict each other or an earlier run.
        DataError: data, the folder of their media, the stage before, or a checkpoint to resume is missing.
    """
    workspace = Workspace(settings.workspace)
    train = settings.train
    run_dir = run_folder(settings)
    _check_run_folder(run_dir)
    start = find_start(settings, workspace, run_dir, trained_before)
    data = find_data(settings, workspace)
    validation = find_validation(settings, workspace, data)
    check_evaluated(settings, validation)
    resume = find_resume(settings, workspace, run_dir)
    recipe = whole_recipe(settings, start, data, workspace, resume)
    finished = None
    if train.resume == "auto" and resume is not None:
        check_recipe(resume, recipe, train.stage)
        finished = read_finished(run_dir, extent_of(settings))
    if finished is None and train.media_root is not None and not is_url(train.media_root):
        check_root(workspace.path(train.media_root), "train.media_root")
    resume_step = None if resume is None else CheckpointMetadata.read(resume / METADATA_FILE).step
    return StagePlan(settings, run_dir, data, validation, start, resume, resume_step, finished, recipe)


def run_folder(settings: Settings) -> Path:
    """Where the stage's run is, or would be."""
    workspace, train = Workspace(settings.workspace), settings.train
    return workspace.path(train.run_dir) if train.run_dir else workspace.run(train.stage)


def _check_run_folder(run_dir: Path) -> None:
    """
    Raises:
        UsageError: it is a file, or a folder of something else, which a run's files would be mixed with.
    """
    check_folder(run_dir, "train.run_dir")
    if not is_free_for_a_run(run_dir):
        raise UsageError(
            f"train.run_dir: {run_dir} holds something else than a run",
            hint="Name a new or empty folder, or the folder of an earlier run.",
        )


def find_resume(settings: Settings, workspace: Workspace, run_dir: Path) -> Path | None:
    """The checkpoint that `train.resume` means."""
    resume = settings.train.resume
    if resume == "never":
        return None
    if resume == "auto":
        return newest(run_dir / CHECKPOINTS)
    path = fetch_checkpoint(resume) if is_url(resume) else pointed(workspace.path(resume))
    if (path / CHECKPOINTS).is_dir():
        path = newest(path / CHECKPOINTS) or path
    if not (path / METADATA_FILE).is_file():
        raise DataError(
            f"train.resume: {path} is not a checkpoint",
            hint="auto, never, or a folder like runs/<stage>/checkpoints/step-00000100, or its URL",
        )
    return path


def whole_recipe(
    settings: Settings, start: Start, data: tuple[DataFolder, ...], workspace: Workspace, resume: Path | None
) -> Recipe:
    """All that the run's numbers depend on: settings, start and data; `resume` as `find_resume` finds it."""
    by_medium = resume is None or RECIPE_VALIDATION in TrainState.read(resume / RESUME_FOLDER / STATE_FILE).recipe
    return {
        **recipe_of(settings),
        RECIPE_START: start.base if isinstance(start.base, str) else {**start.base},
        RECIPE_DATA: [[workspace.relative(one.folder), one.weight, one.rows] for one in data],
        **({RECIPE_VALIDATION: "medium"} if settings.data.validation_share and by_medium else {}),
    }


def extent_of(settings: Settings) -> Extent:
    """How long the run is to be."""
    return Extent(epochs=settings.train.epochs, max_steps=settings.train.max_steps)


def read_finished(run_dir: Path, extent: Extent) -> FinishedRun | None:
    """What a finished run came to, if it was as long as `extent`."""
    finished = FinishedRun.read_if_there(run_dir / FINISHED_FILE)
    return finished if finished is not None and finished.extent == extent else None
