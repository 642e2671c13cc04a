"""A stage's network without its weights, and what its parts hold and cost."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import torch

from aurora_cli.checkpoints import blueprint
from aurora_cli.checkpoints.checkpoint import OpenOptions
from aurora_cli.checkpoints.locate import locate_config
from aurora_cli.checkpoints.opening import open_checkpoint
from aurora_cli.checkpoints.stated.towers import vision_config_of
from aurora_cli.config.merging import TokenMerging
from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.data.batches.selection import chunks
from aurora_cli.data.batches.training_data import TrainingData
from aurora_cli.errors import DataError
from aurora_cli.io.json_files import read_object
from aurora_cli.models.auroracap import AuroraCap, AuroraCapConfig
from aurora_cli.models.layers.quantized import kept_bytes, quantize_layers
from aurora_cli.models.parts import PARTS, PREFIXES, Part
from aurora_cli.pipeline.train.plan import run_folder
from aurora_cli.pipeline.train.start import find_start
from aurora_cli.training.costs import MOMENTS, LayerStack, PartSize, forward_flops, passes
from aurora_cli.training.engine.eight_bit import BLOCK, SMALLEST
from aurora_cli.training.lora import add_adapters
from aurora_cli.training.optim import freeze_all_but, trained_parameters
from aurora_cli.training.trained_parts import adapted_parts, trained_parts


def config_of(settings: Settings) -> AuroraCapConfig:
    """The network's config: of the weights that the stage starts from, or, before these are there, of the preset."""

    workspace = Workspace(settings.workspace)
    model = settings.model
    try:
        start = find_start(settings, workspace, run_folder(settings))
    except DataError:
        start = None
    if start is not None and start.kind == "checkpoint":
        assert isinstance(start.base, str)
        llava = open_checkpoint(start.base, OpenOptions(root=settings.workspace)).config
    else:
        vision = model.vision_config or read_object(locate_config(model.vision_tower, workspace.root))
        text = model.text_config or read_object(locate_config(model.language_model, workspace.root))
        names = {"tower": model.vision_tower, "language": model.language_model}
        if model.vision_config is not None:
            names = {"tower": "model.vision_config", "language": "model.text_config"}
        llava = blueprint.llava_config(vision_config_of(vision), text, model, **names)
    values = llava.to_dict() | {
        "merging": settings.merging.largest.model_dump(mode="json"),
        "image_size": model.image_size,
    }
    return AuroraCapConfig.from_dict(values)


def without_weights(config: AuroraCapConfig) -> AuroraCap:

    with torch.device("meta"):
        return AuroraCap(config)


def frozen(config: AuroraCapConfig, settings: Settings, dtype: torch.dtype) -> AuroraCap:
    """The network as a run wraps it, without its weights: with adapters, what it does not train frozen."""
    with torch.device("meta"):
        model = AuroraCap._from_config(config, dtype=dtype)
        if settings.train.quantize_base is not None:
            quantize_layers(model.model.language_model, settings.train.quantize_base)
        add_adapters(model, adapted_parts(settings.train))
    parameters = trained_parameters(model, trained_parts(settings.train), adapted_parts(settings.train))
    freeze_all_but(model, parameters)
    if settings.train.gradient_checkpointing:
        model.checkpoint_activations()
    return model


def parts_of(model: AuroraCap, settings: Settings) -> list[PartSize]:
    """How many parameters each part has, and how many of them are trained."""

    trained, adapted = trained_parts(settings.train), adapted_parts(settings.train)
    saved = _saved_bytes(model, settings)
    whole = {part: _count(model, part) for part in PARTS}
    add_adapters(model, adapted)
    parameters = trained_parameters(model, trained, adapted)
    return [
        PartSize(
            part,
            whole[part] + (sum(p.numel() for p in parameters[part].values()) if part in adapted else 0),
            sum(p.numel() for p in parameters.get(part, {}).values()),
            saved if part == "language_model" else 0,
            _moments_8bit(parameters.get(part, {}).values()) if settings.train.optimizer == "adamw_8bit" else None,
        )
        for part in PARTS
    ]


def _saved_bytes(model: AuroraCap, settings: Settings) -> int:
    """What the language model takes less for being quantized."""
    bits = settings.train.quantize_base
    if bits is None:
        return 0
    layers = [layer for layer in model.model.language_model.modules() if isinstance(layer, torch.nn.Linear)]
    return sum(4 * layer.weight.numel() - kept_bytes(layer.weight.numel(), bits) for layer in layers)


def _moments_8bit(parameters: Iterable[torch.nn.Parameter]) -> int:
    """Bytes: of large ones a byte each and a scale a block, of small ones fp32."""
    numbers = [parameter.numel() for parameter in parameters]
    return sum(2 * (n + 4 * -(-n // BLOCK)) if n >= SMALLEST else MOMENTS * n for n in numbers)


def _count(model: AuroraCap, part: Part) -> int:
    """Of all parameters of a part, the layers that never run among them."""
    return sum(p.numel() for name, p in model.named_parameters() if name.startswith(PREFIXES[part]))


def _language_layers(model: AuroraCap) -> LayerStack:
    config: Any = model.config.get_text_config()
    layers: Any = model.model.language_model
    return LayerStack(
        config.num_hidden_layers,
        config.hidden_size,
        config.intermediate_size,
        _matrices(layers.layers[0]),
        matrices_of_mlp=3,
    )


def _tower_layers(model: AuroraCap) -> LayerStack:
    config: Any = model.config.vision_config
    tower: Any = model.model.vision_tower
    layer = tower.encoder.stack[0]
    return LayerStack(model.config.tower_layers, config.hidden_size, layer.mlp.fc1.out_features, _matrices(layer))


def _matrices(layer: Any) -> int:
    return sum(parameter.numel() for parameter in layer.parameters() if parameter.ndim == 2)


def _tokens_of_layers(model: AuroraCap, settings: Settings, merging: TokenMerging) -> list[int]:
    """Tokens of one frame in each layer of the tower, where the MLP works."""
    size = settings.model.image_size
    tower: Any = model.model.vision_tower
    tokens = (size // tower.config.patch_size) ** 2 + int(tower.encoder.class_token)
    lengths = []
    for removed in model.config.removals(size, size, merging):
        tokens -= removed
        lengths.append(tokens)
    return lengths


class Flops(NamedTuple):
    """Of an epoch, forwards and backwards."""

    language: float
    """Of the language model and its head."""
    tower: float

    def of_run(self, epochs: float, *, features_kept: bool) -> float:
        """Of so many epochs; a tower whose features are kept runs in the first alone.

        >>> Flops(10.0, 4.0).of_run(3.0, features_kept=False), Flops(10.0, 4.0).of_run(3.0, features_kept=True)
        (42.0, 34.0)
        """
        return epochs * self.language + (min(1.0, epochs) if features_kept else epochs) * self.tower


def flops_of(model: AuroraCap, data: TrainingData, settings: Settings, parts: list[PartSize]) -> Flops:
    """What the parts compute in an epoch; in a mixture, as expectation. Steps that learn from a larger kept ratio
    (`train.distill_ratio`) go forwards there, too."""

    trained = {part.name: part.trained > 0 for part in parts}
    again = settings.train.gradient_checkpointing
    epoch = data.corpus.epoch(0)
    layers, config = _language_layers(model), model.config.get_text_config()
    per_token = 2.0 * config.hidden_size * config.vocab_size  # of the head
    language = head = tower = teacher = teacher_tower = 0.0
    for ratio, merging in enumerate(settings.merging.mergings):
        own = _visited(data, epoch, ratio)
        counts = own.lengths
        language += _language_flops(layers, counts)
        head += per_token * float(counts @ np.arange(len(counts)))
        of_frame = forward_flops(_tower_layers(model), _tokens_of_layers(model, settings, merging), attended=1.0)
        tower += own.frames * of_frame
        if data.teacher is not None and ratio < data.teacher:
            also = _visited(data, epoch, ratio, at=data.teacher)
            counts = also.lengths
            teacher += _language_flops(layers, counts) + per_token * float(counts @ np.arange(len(counts)))
            larger = settings.merging.mergings[data.teacher]
            of_frame = forward_flops(_tower_layers(model), _tokens_of_layers(model, settings, larger), attended=1.0)
            teacher_tower += also.frames * of_frame
    before = trained["vision_tower"] or trained["projector"]
    return Flops(
        (language + head) * passes(trained=trained["language_model"], trained_before=before, recomputed=again)
        + teacher,
        tower * passes(trained=trained["vision_tower"], trained_before=False, recomputed=again) + teacher_tower,
    )


class _Visited(NamedTuple):
    """What an epoch takes at one kept ratio, as expectation."""

    lengths: np.ndarray
    """How many samples of each length."""
    frames: float
    """Of all of them."""


def _visited(data: TrainingData, epoch: np.ndarray, ratio: int, at: int | None = None) -> _Visited:
    """`at`: as they are at another kept ratio, those that a pack holds there."""
    corpus, most = data.corpus, data.plan.budget.tokens
    counts, frames = np.zeros(most + 1), 0.0
    for chunk in chunks(len(epoch)):
        chances = corpus.chances(epoch[chunk], ratio)
        met, chances = epoch[chunk][chances > 0], chances[chances > 0]
        lengths = corpus.lengths_at(met, ratio if at is None else at)
        fits = lengths <= most
        counts += np.bincount(lengths[fits], chances[fits], minlength=most + 1)
        frames += float(corpus.frames[met[fits]] @ chances[fits])
    return _Visited(counts, frames)


def _language_flops(layers: LayerStack, counts: np.ndarray) -> float:
    """Forwards, of so many samples of each length."""
    return sum(
        float(counts[length]) * layers.number * forward_flops(layers, [length], attended=0.5)
        for length in np.flatnonzero(counts).tolist()
    )
