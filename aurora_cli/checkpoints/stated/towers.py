"""A vision tower as its config.json and its image processor's file describe it: kind, layers, patches, pixels.

Files that leave out what is usual for their kind mean it: fixed-size SigLIP 2 says little more than its model_type.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aurora_cli.checkpoints.stated.processors import crops, find_processor, mean_and_deviation, read_processor
from aurora_cli.config.section import Triple
from aurora_cli.errors import DataError, UsageError
from aurora_cli.io.json_files import JsonObject, read_object
from aurora_cli.models.towers.kinds import KINDS, USUAL, TowerKind, check_tower

CONFIG_FILE = "config.json"

VISION_TYPES = {"clip": "clip_vision_model", "siglip": "siglip_vision_model", "siglip2": "siglip2_vision_model"}
"""A whole contrastive model's `model_type`, and that of the vision tower inside it."""


@dataclass(frozen=True)
class Pixels:
    """What a tower wants to see. `sources` says by field where a value stands."""

    size: int
    """Side in pixels."""
    mean: Triple
    std: Triple
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Tower:
    """A vision tower by its description."""

    kind: TowerKind
    patch_size: int
    layers: int
    pixels: Pixels


def vision_config_of(config: Mapping[str, Any]) -> JsonObject:
    """The vision tower's config, from its own or from that of the whole contrastive model."""
    model_type = config.get("model_type", "")
    if model_type in VISION_TYPES:
        return {**config.get("vision_config", {}), "model_type": VISION_TYPES[model_type]}
    return dict(config)


def read_tower(folder: Path) -> Tower:
    """The tower in a folder of its own, or in that of a whole contrastive model.

    Raises:
        UsageError: it is of a kind that is not supported, or its images are not square.
        DataError: there is no config.json, or one of the files is damaged.
    """
    vision = vision_config_of(read_object(folder / CONFIG_FILE))
    kind = check_tower(str(folder), vision)
    patch_size = int(vision.get("patch_size", kind.patch_size))
    pixels = stated_pixels((folder,), vision)
    return Tower(kind, patch_size, int(vision.get("num_hidden_layers", kind.layers)), pixels)


def kind_of(vision: Mapping[str, Any]) -> TowerKind | None:
    """The kind that a tower's config is of, if it can be the tower."""
    return KINDS.get(str(vision.get("model_type", USUAL)))


def processor_folders(captioner: Path) -> tuple[Path, ...]:
    """Where the layouts of captioners keep the image processor's file."""
    return captioner, captioner / "visual_encoder", captioner / "vision_tower"


def stated_pixels(folders: Iterable[Path], vision: Mapping[str, Any]) -> Pixels:
    """Size and colours by the first image processor's file in `folders`, by the config, or as usual for the kind.

    Raises:
        UsageError: the images are not square.
        DataError: the file says something else than sizes and colours.
    """
    folders = tuple(folders)
    kind = kind_of(vision) or KINDS[USUAL]
    file = find_processor(folders)
    stated: JsonObject = {} if file is None else read_processor(file)
    config = str(folders[0] / CONFIG_FILE)
    usual = f"usual for {vision.get('model_type', 'clip_vision_model')}; there is no image processor's file"
    size = _side(stated, file)
    sources = {"size": str(file) if size else config if "image_size" in vision else usual}
    colours: dict[str, Triple] = {}
    for name, default in (("image_mean", kind.mean), ("image_std", kind.std)):
        given = stated.get(name)
        colours[name] = _triple(given, name, file) if given else default
        sources[name.removeprefix("image_")] = str(file) if given else usual
    mean, std = mean_and_deviation(stated, colours["image_mean"], colours["image_std"])
    side = size or int(vision.get("image_size", kind.image_size))
    return Pixels(side, _triple(mean, "image_mean", file), _triple(std, "image_std", file), sources)


def _side(stated: JsonObject, file: Path | None) -> int | None:
    """The side of what the tower is given: of the crop where one is cut out, else of the resized image."""
    for key in ("crop_size", "size") if crops(stated) else ("size", "crop_size"):
        size = stated.get(key)
        if isinstance(size, Mapping):
            sides = {side for name in ("height", "width", "shortest_edge") if (side := size.get(name))}
            if len(sides) > 1:
                raise UsageError(
                    f"{file}: {key} is {dict(size)}, which is not square",
                    hint="Say the side that images get: --set model.image_size=PIXELS",
                )
            size = sides.pop() if sides else None
        if size:
            if isinstance(size, bool) or not isinstance(size, int):
                raise DataError(f"{file}: {key} is {size!r}; pixels were expected")
            return size
    return None


def _triple(given: Any, name: str, file: Path | None) -> Triple:
    values = [given] * 3 if isinstance(given, int | float) else given
    numbers = isinstance(values, list) and all(isinstance(one, int | float) and math.isfinite(one) for one in values)
    if not numbers or len(values) != 3 or (name == "image_std" and min(values) <= 0):
        raise DataError(f"{file}: {name} is {given!r}; three numbers were expected")
    red, green, blue = map(float, values)
    return red, green, blue
