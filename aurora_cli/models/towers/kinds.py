"""The kinds of vision towers that there are, by `model_type`: all that is said of one kind and not of another.

No torch here: a tower's files are read without it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from aurora_cli.errors import UsageError

Colours = tuple[float, float, float]
"""Of red, green and blue."""


class LayerNames(NamedTuple):
    """What transformers calls the parts of an encoder and of its layers."""

    layers: str
    """In the encoder."""
    norm_before_attention: str
    norm_before_mlp: str
    attention: str
    projection_out: str
    """Of the attention, as what follows is."""
    heads: str
    scale: str
    dropout: str
    scales: tuple[str, str] | None = None
    """What multiplies each channel of what attention and MLP add; none: nothing does."""
    drop_path: str | None = None
    """What leaves out, in training, what they add to some frames."""


class TowerKind(NamedTuple):
    """A kind. Sizes are its config's defaults in transformers, colours those that all of them learn with."""

    image_size: int
    patch_size: int
    layers: int
    class_token: bool
    """Whether one stands before the patches."""
    mean: Colours
    std: Colours
    model_class: str
    """In transformers, of a tower alone."""
    names: LayerNames
    norm_of_embeddings: str | None = None
    """Before the first layer."""
    any_size: bool = False
    """Whether transformers' own class resizes position embeddings to the images that it gets."""


_CLIPS_LAYERS = LayerNames(
    layers="layers",
    norm_before_attention="layer_norm1",
    norm_before_mlp="layer_norm2",
    attention="self_attn",
    projection_out="out_proj",
    heads="num_heads",
    scale="scale",
    dropout="dropout",
)

KINDS = {
    "clip_vision_model": TowerKind(
        image_size=224,
        patch_size=32,
        layers=12,
        class_token=True,
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
        model_class="CLIPVisionModel",
        names=_CLIPS_LAYERS,
        norm_of_embeddings="pre_layrnorm",
    ),
    "siglip_vision_model": TowerKind(
        image_size=224,
        patch_size=16,
        layers=12,
        class_token=False,
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        model_class="SiglipVisionModel",
        names=_CLIPS_LAYERS,
    ),
    "dinov2": TowerKind(
        image_size=224,
        patch_size=14,
        layers=12,
        class_token=True,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        model_class="Dinov2Model",
        names=LayerNames(
            layers="layer",
            norm_before_attention="norm1",
            norm_before_mlp="norm2",
            attention="attention",
            projection_out="o_proj",
            heads="num_attention_heads",
            scale="scaling",
            dropout="attention_dropout",
            scales=("layer_scale1", "layer_scale2"),
            drop_path="drop_path",
        ),
        any_size=True,
    ),
}
"""By `model_type`: those that can be the tower."""

USUAL = "clip_vision_model"
"""What a config that says no `model_type` is of."""

SUPPORTED = (
    "Supported are CLIP (model_type clip or clip_vision_model), SigLIP (siglip, siglip_vision_model; SigLIP 2 of one "
    "fixed size is of this type) and DINOv2 (dinov2, without registers)."
)


def check_tower(name: str, config: Mapping[str, Any]) -> TowerKind:
    """The kind of a tower that merges tokens, which `config` is of. `name` is the tower's in the message.

    Raises:
        UsageError: it is of another kind.
    """
    model_type = str(config.get("model_type", USUAL))
    problem = _problem_of_tower(model_type, config)
    if problem is not None:
        raise UsageError(f"{name} is a {model_type}, which cannot be the vision tower{problem}", hint=SUPPORTED)
    return KINDS[model_type]


def _problem_of_tower(model_type: str, config: Mapping[str, Any]) -> str | None:
    if model_type not in KINDS:
        return ""
    if config.get("use_swiglu_ffn"):
        return ": its MLPs are gated (use_swiglu_ffn), as those of DINOv2's giant are"
    sides = [key for key in ("image_size", "patch_size") if isinstance(config.get(key), list | tuple)]
    return f": {sides[0]} is {config[sides[0]]}, and one number was expected" if sides else None


def kind_named(model_type: str) -> TowerKind:
    """The kind of this `model_type`.

    Raises:
        UsageError: it is none that is supported.
    """
    if model_type not in KINDS:
        raise UsageError(f"the vision tower is a {model_type}; CLIP, SigLIP and DINOv2 towers are supported")
    return KINDS[model_type]


def has_class_token(model_type: str) -> bool:
    """Whether a kind of tower puts a class token before the patches.

    Raises:
        UsageError: it is none that is supported.
    """
    return kind_named(model_type).class_token
