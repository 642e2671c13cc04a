"""The figure of `aurora merge-view`: the picture, and beside it what merging leaves of it, region by region.

Shapes: S side of the picture in pixels, R rows and C columns of patches.
"""

from collections.abc import Sequence
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

PANEL = 378
"""Pixels that a view is wide, about: patches stay whole pixels."""

MARGIN = 14
TEXT = 17
"""Height of the letters."""

_INK, _FAINT, _PAPER = (32, 32, 32), (110, 110, 110), (255, 255, 255)


class View(NamedTuple):
    """A picture at one kept ratio."""

    kept_ratio: float
    tokens: int
    region_RC: np.ndarray
    """The token that each patch went into."""


def region_colours(patch_RC3: np.ndarray, region_RC: np.ndarray) -> np.ndarray:
    """(R, C, 3): for each patch the mean colour over its region."""
    _, place = np.unique(region_RC, return_inverse=True)
    place = place.reshape(-1)
    counts = np.bincount(place)
    means = [np.bincount(place, weights=channel.reshape(-1)) / counts for channel in np.moveaxis(patch_RC3, -1, 0)]
    return np.stack(means, axis=-1)[place].reshape(patch_RC3.shape)


def paint(picture_SS3: np.ndarray, patch_size: int, region_RC: np.ndarray, cell: int) -> np.ndarray:
    """The regions in their mean colours, with a line between any two: (R * cell, C * cell, 3) uint8."""
    rows, columns = region_RC.shape
    whole = picture_SS3[: rows * patch_size, : columns * patch_size].astype(np.float64)
    patch_RC3 = whole.reshape(rows, patch_size, columns, patch_size, 3).mean(axis=(1, 3))
    painted = region_colours(patch_RC3, region_RC).repeat(cell, axis=0).repeat(cell, axis=1)
    regions = region_RC.repeat(cell, axis=0).repeat(cell, axis=1)
    border = np.zeros(regions.shape, dtype=bool)
    border[:, 1:] |= regions[:, 1:] != regions[:, :-1]
    border[1:] |= regions[1:] != regions[:-1]
    # Half way to white, or to black where the region itself is light: seen on every colour, louder than none.
    light = painted.mean(axis=-1, keepdims=True) > 150
    lines = np.where(light, painted * 0.55, painted * 0.45 + 255 * 0.55)
    return np.where(border[..., None], lines, painted).round().astype(np.uint8)


def draw(picture_SS3: np.ndarray, patch_size: int, views: Sequence[View], file: IO[bytes], facts: str) -> None:
    """Write the PNG: the picture as the tower gets it, then the views; `facts` travels inside as text."""
    rows, columns = views[0].region_RC.shape
    cell = max(1, round(PANEL / max(rows, columns)))
    width, height = columns * cell, rows * cell
    font = ImageFont.load_default(TEXT)
    seen = Image.fromarray(picture_SS3[: rows * patch_size, : columns * patch_size])
    panels = [seen.resize((width, height), Image.Resampling.LANCZOS)]
    labels = [("the picture", f"{rows} x {columns} = {rows * columns:,} patches")]
    for view in views:
        panels.append(Image.fromarray(paint(picture_SS3, patch_size, view.region_RC, cell)))
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
