"""A captioner of any layout by the files beside its weights: which parts, which pixels."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from aurora_cli.checkpoints.facts import FACTS_FILE, WeightFacts
from aurora_cli.checkpoints.stated import towers
from aurora_cli.checkpoints.stated.processors import pixels_note
from aurora_cli.checkpoints.stated.towers import CONFIG_FILE
from aurora_cli.config.settings import ModelSettings
from aurora_cli.io.json_files import read_object
from aurora_cli.runs.checkpoints import newest
from aurora_cli.runs.layout import CHECKPOINTS, METADATA_FILE
from aurora_cli.runs.metadata import CheckpointMetadata


class StatedModel(NamedTuple):
    """What a captioner's files say of its network."""

    model: ModelSettings
    """Of a foreign one, the names of its parts are empty."""
    source: str
    """The file that says it."""
    note: str | None = None
    """What a foreign one was shown otherwise than it is here."""


def read_captioner(path: Path) -> StatedModel | None:
    """The network of a run, a checkpoint, or an export of any layout; none of weights that come without files.

    Raises:
        DataError: one of the files is damaged.
    """
    if (path / CHECKPOINTS).is_dir():
        path = newest(path / CHECKPOINTS) or path
    if (path / METADATA_FILE).is_file():
        return StatedModel(CheckpointMetadata.read(path / METADATA_FILE).model, str(path / METADATA_FILE))
    facts = WeightFacts.read_if_there(path / FACTS_FILE)
    if facts is not None and facts.model is not None:
        return StatedModel(facts.model, str(path / FACTS_FILE))
    return _read_layout(path)


def _read_layout(path: Path) -> StatedModel | None:
    config = read_object(path / CONFIG_FILE) if (path / CONFIG_FILE).is_file() else {}
    tower = path / "visual_encoder" / CONFIG_FILE
    if isinstance(config.get("vision_config"), dict):
        vision = dict(config["vision_config"])
    elif tower.is_file():
        vision = towers.vision_config_of(read_object(tower))
    else:
        return None
    if towers.kind_of(vision) is None:
        return None  # refused with its name as its weights are opened
    if isinstance(config.get("image_size"), int):  # ours: the side that frames are resized to, whatever the tower's
        vision["image_size"] = config["image_size"]
    pixels = towers.stated_pixels(towers.processor_folders(path), vision)
    model = ModelSettings(
        vision_tower="",
        language_model="",
        image_size=pixels.size,
        image_mean=pixels.mean,
        image_std=pixels.std,
        feature_layer=_feature_layer(config, vision),
    )
    return StatedModel(model, pixels.sources["size"], pixels_note(path))


def _feature_layer(config: Mapping[str, Any], vision: Mapping[str, Any]) -> int:
    """From the end; what is none is refused as the weights are opened."""
    layer = config.get("vision_feature_layer", config.get("mm_vision_select_layer", -2))
    if isinstance(layer, list) and len(layer) == 1:
        (layer,) = layer
    if not isinstance(layer, int):
        return -2
    return layer - int(vision.get("num_hidden_layers", 12)) - 1 if layer >= 0 else layer
