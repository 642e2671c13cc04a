"""A vision tower, a projector and a language model, each in a folder or file of its own."""

from collections.abc import Callable
from pathlib import Path

from aurora_cli.checkpoints import blueprint, names
from aurora_cli.checkpoints.checkpoint import Checkpoint, read_config
from aurora_cli.checkpoints.lazy_tensors import Tensors, rename
from aurora_cli.checkpoints.locate import locate
from aurora_cli.checkpoints.weight_files import has_weights, open_weights
from aurora_cli.config.merging import TokenMerging
from aurora_cli.config.settings import ModelSettings
from aurora_cli.errors import DataError


def open_parts(
    vision_tower: str | None, language_model: str | None, model: ModelSettings, root: Path | None
) -> Checkpoint:
    """A vision tower and a language model from folders or hub ids; there is no projector yet."""
    if not vision_tower or not language_model:
        raise DataError(
            "neither a base nor model.vision_tower and model.language_model say where frozen parts come from"
        )
    vision, language = locate(vision_tower, root), locate(language_model, root)
    vision_config = blueprint.vision_config_of(read_config(vision))
    tensors = {
        **rename(_only(open_weights(vision), "vision_model."), within("visual_encoder.")),
        **rename(open_weights(language), within("llm.")),
    }
    return Checkpoint(
        path=language,
        kind="parts",
        tensors=tensors,
        config=blueprint.llava_config(vision_config, read_config(language), model),
        model=model,
        merging=TokenMerging(),
        tokenizer=model.tokenizer or str(language),
        described_by=(vision / "config.json", language / "config.json"),
    )


def open_part(folder: Path, prefix: str) -> Tensors:
    """The weights of one part; none where there is no such folder."""
    if not has_weights(folder):
        return {}
    return rename(open_weights(folder), within(prefix))


def within(prefix: str) -> Callable[[str], str | None]:
    """What gives the canonical name to a tensor of the part that `prefix` stands for."""
    return lambda name: names.canonical(prefix + name)


def _only(tensors: Tensors, prefix: str) -> Tensors:
    """Of a contrastive model only the vision tower; a tower's own file is taken whole."""
    chosen = {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    return chosen or tensors
