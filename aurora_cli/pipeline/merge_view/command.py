"""`aurora merge-view`: draws an image as the vision tower keeps it, at several kept ratios side by side."""

from dataclasses import dataclass
from pathlib import Path

from aurora_cli.config.settings import MergeViewSettings, Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.errors import DataError, UsageError
from aurora_cli.imports import imported_at_once, without_compiler
from aurora_cli.pipeline.result import Result
from aurora_cli.runs.find import find_model


@dataclass(frozen=True)
class ShownView:
    """A view in the figure."""

    kept_ratio: float
    tokens: int


@dataclass(frozen=True)
class MergeViewResult(Result):
    """What each view shows."""

    model: str
    output: str
    patches: int = 0
    schedule: str = ""
    views: tuple[ShownView, ...] = ()
    left_out: tuple[str, ...] = ()
    """Of the usual ratios, those that the tower cannot reach, with the reason."""
    dry_run: bool = False

    def lines(self) -> list[str]:
        if self.dry_run:
            return [f"Would run the vision tower of {self.model} and draw {self.output}"]
        shown = [
            f"kept ratio {view.kept_ratio}: {view.tokens:,} of {self.patches:,} tokens "
            f"({view.tokens / self.patches:.1%})"
            for view in self.views
        ]
        return [f"{self.model}, schedule {self.schedule}", *shown, *self.left_out, self.output]


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> MergeViewResult:
    """Draw what becomes of an image in the vision tower.

    Raises:
        UsageError: no image is named, or a kept ratio that the tower's layers cannot reach.
        DataError: there is no model, or it or the image is damaged.
    """
    view, workspace = settings.merge_view, Workspace(settings.workspace)
    image, output = _paths(view, workspace)
    model = view.model or str(find_model(workspace, reporter))
    if dry_run:
        return MergeViewResult(model, str(output), dry_run=True)
    with imported_at_once(), without_compiler():
        from aurora_cli.pipeline.merge_view.figure import write_figure

    figure = write_figure(settings, model, image, output, reporter)
    return MergeViewResult(
        model=model,
        output=str(output),
        patches=figure.views[0].region_RC.size,
        schedule=figure.schedule,
        views=tuple(ShownView(view.kept_ratio, view.tokens) for view in figure.views),
        left_out=figure.left_out,
    )


def _paths(view: MergeViewSettings, workspace: Workspace) -> tuple[Path, Path]:
    """The image, and the file to write.

    Raises:
        UsageError: no image is named, or the output is the image or no PNG.
        DataError: the image is not there.
    """
    if view.image is None:
        raise UsageError("no image is named", hint="aurora merge-view image.jpg")
    image = workspace.path(view.image)
    output = workspace.path(view.output or Path(f"{image.stem}.merged.png"))
    if output.suffix.lower() != ".png":
        raise UsageError(f"--output {view.output}: a PNG is written; a name that ends in .png was expected")
    if not image.is_file():
        what = "a folder; one image" if image.is_dir() else "not there; an image or a video"
        raise DataError(f"{image}: is {what} was expected")
    if output.exists() and output.samefile(image):
        raise UsageError(f"--output {view.output}: is the image itself", hint="Name another file.")
    return image, output
