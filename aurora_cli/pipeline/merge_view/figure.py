"""The figure: the image as the vision tower gets it, and beside it the regions that merging leaves, by kept ratio.

Shapes: F frames, S side of the image in pixels.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from aurora_cli.captioning.regions import PANEL, View, paint, views_of
from aurora_cli.checkpoints.checkpoint import OpenedCheckpoint, OpenOptions
from aurora_cli.checkpoints.loading import build_tower, config_of, resolve_device
from aurora_cli.checkpoints.opening import open_checkpoint
from aurora_cli.config.merging import TokenMerging
from aurora_cli.config.settings import Settings
from aurora_cli.console import Reporter
from aurora_cli.data.media.reader import MediaReader, PlainFiles
from aurora_cli.data.media.transforms import normalise
from aurora_cli.errors import SettingsError
from aurora_cli.io.atomic import atomic_write

RATIOS = (1.0, 0.5, 0.2, 0.1)
"""Shown where the user names none."""

MARGIN = 14

TEXT = 17
"""Height of the letters."""

_INK, _FAINT, _PAPER = (32, 32, 32), (110, 110, 110), (255, 255, 255)


class Figure(NamedTuple):
    """What was drawn."""

    views: list[View]
    schedule: str
    left_out: tuple[str, ...]
    """Of the usual ratios, those that the tower cannot reach, with the reason."""


def write_figure(settings: Settings, model: str, image: Path, output: Path, reporter: Reporter) -> Figure:
    """Draw an image, or the middle frame of a video, as `model`'s tower merges it.

    Raises:
        SettingsError: a kept ratio that the tower's layers cannot reach.
        DataError: the model or the image is damaged.
    """
    checkpoint = open_checkpoint(model, OpenOptions(settings.workspace, None, settings.model))
    for note in checkpoint.notes:
        reporter.info(note)
    mergings, left_out = _mergings(checkpoint, settings.merge_view.token_kept_ratios)
    reader = MediaReader(PlainFiles(), checkpoint.model.image_size, checkpoint.model.image_mean)
    frames_FSSC = reader.video(str(image), 1) if reader.is_video(str(image)) else reader.images([str(image)])
    views = _views(checkpoint, frames_FSSC, mergings, settings.merge_view.device)
    merging = checkpoint.merging
    facts = {
        "model": model,
        "image": image.name,
        "merging": merging.model_dump(mode="json"),
        "kept_ratios": [view.kept_ratio for view in views],
    }
    vision: Any = checkpoint.config.vision_config
    with atomic_write(output) as file:
        draw(frames_FSSC[0], vision.patch_size, views, file, facts=json.dumps(facts))
    return Figure(views, merging.schedule, left_out)


def draw(image_SS3: np.ndarray, patch_size: int, views: Sequence[View], file: IO[bytes], facts: str) -> None:
    """Write the PNG: the image as the tower gets it, then the views; `facts` are kept in it as text."""
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


def _mergings(checkpoint: OpenedCheckpoint, ratios: Sequence[float]) -> tuple[list[TokenMerging], tuple[str, ...]]:
    """The checkpoint's merging at each ratio to show, and those of the usual ratios that it cannot reach."""
    config, size = config_of(checkpoint), checkpoint.model.image_size
    mergings: list[TokenMerging] = []
    left_out: list[str] = []
    for ratio in ratios or RATIOS:
        merging = checkpoint.merging.model_copy(update={"kept_ratio": ratio})
        try:
            config.frame_token_counts(size, size, merging)
        except SettingsError as error:
            if ratios:
                raise
            left_out.append(f"left out: {error.message}")
        else:
            mergings.append(merging)
    return mergings, tuple(left_out)


def _views(
    checkpoint: OpenedCheckpoint, frames_FSSC: np.ndarray, mergings: Sequence[TokenMerging], device: str
) -> list[View]:
    """The token of every patch of the first frame, as the tower's layers really decide it."""
    import torch

    config, target = config_of(checkpoint), resolve_device(device)
    tower = build_tower(checkpoint, device=target)
    pixels = normalise(torch.from_numpy(frames_FSSC), checkpoint.model.image_mean, checkpoint.model.image_std)
    return [views_of(tower, config, pixels.to(target), merging)[0] for merging in mergings]
