"""`aurora merge-view`: an image as the vision tower keeps it, at several kept ratios side by side."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aurora_cli.captioning.regions import View
from aurora_cli.config.merging import TokenMerging
from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.errors import DataError, SettingsError, UsageError
from aurora_cli.io.atomic import atomic_write
from aurora_cli.pipeline.result import Result
from aurora_cli.runs.find import find_model

if TYPE_CHECKING:
    from aurora_cli.checkpoints.checkpoint import Checkpoint
    from aurora_cli.models.config import AuroraCapConfig

from typing import IO, TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from aurora_cli.captioning.regions import views_of

if TYPE_CHECKING:
    from aurora_cli.checkpoints.checkpoint import Checkpoint
    from aurora_cli.models.config import AuroraCapConfig
from aurora_cli.captioning.regions import _FAINT, _INK, _PAPER, PANEL, paint

RATIOS = (1.0, 0.5, 0.2, 0.1)
"""Shown where the user names none."""


@dataclass(frozen=True)
class MergeViewResult(Result):
    """What each view shows."""

    model: str
    output: str
    patches: int = 0
    schedule: str = ""
    views: tuple[dict[str, Any], ...] = ()
    """kept_ratio, tokens."""
    left_out: tuple[str, ...] = ()
    """Ratios that nobody asked for and the tower cannot reach, with the reason."""
    dry_run: bool = False

    def lines(self) -> list[str]:
        if self.dry_run:
            return [f"Would run the vision tower of {self.model} and draw {self.output}"]
        shown = [
            f"kept ratio {view['kept_ratio']}: {view['tokens']:,} of {self.patches:,} tokens "
            f"({view['tokens'] / self.patches:.1%})"
            for view in self.views
        ]
        return [f"{self.model}, schedule {self.schedule}", *shown, *self.left_out, self.output]


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> MergeViewResult:
    """Draw what becomes of an image in the vision tower.

    Raises:
        UsageError: no image is named, or a kept ratio that the tower's layers cannot reach.
        DataError: there is no model, or it or the image is damaged.
    """
    view = settings.merge_view
    workspace = Workspace(settings.workspace)
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
    name = view.model or str(find_model(workspace, reporter))
    if dry_run:
        return MergeViewResult(name, str(output), dry_run=True)

    from aurora_cli.checkpoints.checkpoint import Origin
    from aurora_cli.checkpoints.loading import config_of
    from aurora_cli.checkpoints.opening import open_checkpoint
    from aurora_cli.data.media.reader import MediaReader

    checkpoint = open_checkpoint(name, Origin(workspace.root, None, settings.model))
    for note in checkpoint.notes:
        reporter.info(note)
    size = checkpoint.model.image_size
    merging = checkpoint.merging
    ratios, left_out = _reachable(config_of(checkpoint), size, merging, view.token_kept_ratios)
    reader = MediaReader(None, size, checkpoint.model.image_mean)
    frames_FSSC = reader.video(str(image), 1) if reader.is_video(str(image)) else reader.images([str(image)])
    mergings = [merging.model_copy(update={"kept_ratio": ratio}) for ratio in ratios]
    views = _views(checkpoint, frames_FSSC, mergings, view.device)
    facts = {"model": name, "image": image.name, "merging": merging.model_dump(mode="json"), "kept_ratios": ratios}
    vision: Any = checkpoint.config.vision_config
    with atomic_write(output) as file:
        draw(frames_FSSC[0], vision.patch_size, views, file, facts=json.dumps(facts))
    return MergeViewResult(
        model=name,
        output=str(output),
        patches=views[0].region_RC.size,
        schedule=merging.schedule,
        views=tuple({"kept_ratio": view.kept_ratio, "tokens": view.tokens} for view in views),
        left_out=left_out,
    )


def _reachable(
    config: "AuroraCapConfig", size: int, merging: TokenMerging, asked: Sequence[float]
) -> tuple[list[float], tuple[str, ...]]:
    """The ratios to show. One that was asked for and cannot be is an error; one of the usual ones is left out."""
    ratios: list[float] = []
    left_out: list[str] = []
    for ratio in asked or RATIOS:
        try:
            config.frame_tokens(size, size, merging.model_copy(update={"kept_ratio": ratio}))
        except SettingsError as error:
            if asked:
                raise
            left_out.append(f"left out: {error.message}")
        else:
            ratios.append(ratio)
    return ratios, tuple(left_out)


def _views(checkpoint: "Checkpoint", frame_FSSC: Any, mergings: Sequence[TokenMerging], device: str) -> list[View]:
    """The token of every patch, as the tower's layers really decide it."""
    import torch

    from aurora_cli.checkpoints.loading import build_tower, config_of, resolve_device
    from aurora_cli.data.media.transforms import normalise

    config = config_of(checkpoint)
    place = resolve_device(device)
    tower = build_tower(checkpoint, device=place)
    pixels = normalise(torch.from_numpy(frame_FSSC), checkpoint.model.image_mean, checkpoint.model.image_std)
    return [views_of(tower, config, pixels.to(place), merging)[0] for merging in mergings]


MARGIN = 14

TEXT = 17
"""Height of the letters."""


def draw(image_SS3: np.ndarray, patch_size: int, views: Sequence[View], file: IO[bytes], facts: str) -> None:
    """Write the PNG: the image as the tower gets it, then the views; `facts` travels inside as text."""
    rows, columns = views[0].region_RC.shape
    cell = max(1, round(PANEL / max(rows, columns)))
    width, height = columns * cell, rows * cell
    font = ImageFont.load_default(TEXT)
    seen = Image.fromarray(image_SS3[: rows * patch_size, : columns * patch_size])
    panels = [seen.resize((width, height), Image.Resampling.LANCZOS)]
    labels = [("the image", f"{rows} x {columns} = {rows * columns:,} patches")]
    for view in views:
        panels.append(Image.fromarray(paint(image_SS3, patch_size, view.region_RC, cell)))
        share = view.tokens / view.region_RC.size
        labels.append((f"kept ratio {view.kept_ratio}", f"{view.tokens:,} tokens, {share:.1%}"))
    step = width + MARGIN
    sheet = Image.new("RGB", (MARGIN + step * len(panels), 2 * MARGIN + height + 3 * TEXT), _PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, (panel, (name, count)) in enumerate(zip(panels, labels, strict=True)):
        left = MARGIN + number * step
        sheet.paste(panel, (left, MARGIN))
        pen.text((left, MARGIN + height + TEXT // 2), name, fill=_INK, font=font)
        pen.text((left, MARGIN + height + TEXT // 2 + round(1.3 * TEXT)), count, fill=_FAINT, font=font)
    about = PngImagePlugin.PngInfo()
    about.add_text("aurora", facts)
    sheet.save(file, format="PNG", optimize=True, pnginfo=about)
