"""Which patches of an image became one visual token, and how such regions are painted.

Shapes: S side of the image in pixels, R rows and C columns of patches.
"""

from typing import NamedTuple

import numpy as np
import torch
from transformers import PreTrainedModel

from aurora_cli.config.merging import TokenMerging
from aurora_cli.models.config import AuroraCapConfig
from aurora_cli.models.merge_plan import grid
from aurora_cli.models.token_merging import trace_tokens
from aurora_cli.models.towers.kinds import has_class_token
from aurora_cli.models.vision_encoder import encode

PANEL = 378
"""Pixels that a view is wide, about: patches stay whole pixels."""


class View(NamedTuple):
    """An image at one kept ratio."""

    kept_ratio: float
    tokens: int
    region_RC: np.ndarray
    """The token that each patch went into."""


def region_colours(patch_RC3: np.ndarray, region_RC: np.ndarray) -> np.ndarray:
    """(R, C, 3): for each patch the mean colour over its region."""
    _, index = np.unique(region_RC, return_inverse=True)
    index = index.reshape(-1)
    counts = np.bincount(index)
    means = [np.bincount(index, weights=channel.reshape(-1)) / counts for channel in np.moveaxis(patch_RC3, -1, 0)]
    return np.stack(means, axis=-1)[index].reshape(patch_RC3.shape)


def paint(image_SS3: np.ndarray, patch_size: int, region_RC: np.ndarray, cell: int) -> np.ndarray:
    """The regions in their mean colours, with a line between any two: (R * cell, C * cell, 3) uint8."""
    rows, columns = region_RC.shape
    whole = image_SS3[: rows * patch_size, : columns * patch_size].astype(np.float64)
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


def views_of(
    tower: PreTrainedModel, config: AuroraCapConfig, pixels: torch.Tensor, merging: TokenMerging
) -> list[View]:
    """A view of every frame of `pixels` (F, 3, S, S), as the tower's layers really merge it."""
    height, width = pixels.shape[-2:]
    rows, columns = grid(height, width, tower.config.patch_size)
    class_tokens = int(has_class_token(tower.config.model_type))
    with torch.no_grad():
        encoded = encode(tower, pixels, config.removals(height, width, merging), merging.proportional_attention)
    slots_FN = trace_tokens(encoded.matchings, rows * columns + class_tokens)[:, class_tokens:].cpu() - class_tokens
    tokens = encoded.hidden.shape[1] - class_tokens
    regions_FRC = slots_FN.expand(len(pixels), -1).reshape(-1, rows, columns).numpy()
    return [View(merging.kept_ratio, tokens, region_RC) for region_RC in regions_FRC]
