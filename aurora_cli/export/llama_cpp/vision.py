"""The vision tower and the projector: llama.cpp's `mmproj` file.

Sources: llama.cpp, `tools/mtmd/clip-impl.h` (keys and names), `tools/mtmd/clip.cpp` (how it reads them) and
`tools/mtmd/models/llava.cpp` (the graph). It runs as many layers as `clip.vision.feature_layer` says, and one too few
without it; the layers behind are left out. Towers with a class token get a layer more: see `class_token.py`.

The projector type decides what an image that is not square is padded with: `mlp`, LLaVA's, with CLIP's mean colour;
`janus_pro`, whose graph is SigLIP's with the same two layers behind it, with grey, which is SigLIP's.
"""

from collections.abc import Iterator
from typing import Any, Literal

import torch

from aurora_cli.checkpoints import names
from aurora_cli.checkpoints.lazy_tensors import LazyTensor, Tensors
from aurora_cli.config.settings import ModelSettings
from aurora_cli.data.media.images import Colour
from aurora_cli.data.media.transforms import padding_colour
from aurora_cli.errors import UsageError
from aurora_cli.export.llama_cpp import class_token
from aurora_cli.export.llama_cpp.class_token import Widths
from aurora_cli.export.llama_cpp.files import FileTensor, Metadata, matrix_type
from aurora_cli.export.positions import POSITIONS
from aurora_cli.models.merge_plan import layers_before
from aurora_cli.models.towers.kinds import has_class_token

ProjectorType = Literal["mlp", "janus_pro"]
ARCHITECTURE = "clip"
TOWERS = ("siglip_vision_model", "clip_vision_model")

_HINT = "Towers that are written: SigLIP and CLIP. --format huggingface takes any."
_TOWER = names.VISION + "vision_model."
PADDING: dict[ProjectorType, Colour] = {"mlp": (122, 116, 104), "janus_pro": (127, 127, 127)}
"""What llama.cpp pads images with."""

_UNITS = 32
_GELUS = ("gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh")
_EMBEDDINGS = {
    "embeddings.patch_embedding.weight": "v.patch_embd.weight",
    "embeddings.patch_embedding.bias": "v.patch_embd.bias",
    "embeddings.class_embedding": "v.class_embd",
    "pre_layrnorm.weight": "v.pre_ln.weight",
    "pre_layrnorm.bias": "v.pre_ln.bias",
}
_LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.out_proj": "attn_out",
    "layer_norm1": "ln1",
    "layer_norm2": "ln2",
    "mlp.fc1": "ffn_up",
    "mlp.fc2": "ffn_down",
}


def check_vision(config: Any) -> None:
    """
    Raises:
        UsageError: llama.cpp computes another tower, or another projector.
    """
    vision: Any = config.vision_config
    if vision.model_type not in TOWERS:
        raise UsageError(
            f"a {vision.model_type} tower cannot be written as GGUF: llama.cpp has no LLaVA with it", hint=_HINT
        )
    if vision.hidden_act not in (*_GELUS, "quick_gelu", "silu"):
        raise UsageError(f"the tower's {vision.hidden_act} is none of llama.cpp's activations", hint=_HINT)
    if config.projector_hidden_act not in _GELUS:
        raise UsageError(f"the projector has {config.projector_hidden_act}, and llama.cpp's gelu", hint=_HINT)


def projector_type(config: Any, model: ModelSettings) -> ProjectorType:
    """llama.cpp's, by what it pads images with."""
    vision: Any = config.vision_config
    is_grey = padding_colour(model.image_mean) == PADDING["janus_pro"]
    return "janus_pro" if is_grey and _widths(config) is None and vision.hidden_act in _GELUS else "mlp"


def notes_of(config: Any, model: ModelSettings) -> list[str]:
    """What a user should know of how llama.cpp computes the tower."""
    vision: Any = config.vision_config
    padded, ours = PADDING[projector_type(config, model)], padding_colour(model.image_mean)
    other = f"llama.cpp pads images that are not square with {padded}, and training padded with {ours}"
    padding = [f"{other}: pad them first"] if padded != ours else []
    exact = (
        ["the tower's gelu is the exact one, and llama.cpp's is an approximation"]
        if vision.hidden_act == "gelu"
        else []
    )
    if _widths(config) is None:
        return [*padding, *exact]
    return [
        *padding,
        *exact,
        "the tower has a class token, which llama.cpp (in llama-cpp-python 0.3.36) puts behind the patches: the file "
        "is laid out for that, and no file for a llama.cpp that puts it in front (its pull request 25844)",
    ]


def layers_run(config: Any) -> int:
    """Layers of the tower in front of the features."""
    return layers_before(int(config.vision_feature_layer), int(config.vision_config.num_hidden_layers))


def metadata_of(config: Any, model: ModelSettings) -> Metadata:
    """The keys of the tower and its images."""
    vision: Any = config.vision_config
    widths = _widths(config, model)
    layers = layers_run(config) + (widths is not None)
    projector = projector_type(config, model)
    own: Metadata = {
        "image_size": model.image_size,
        "patch_size": int(vision.patch_size),
        "embedding_length": int(vision.hidden_size) if widths is None else widths.all,
        "feed_forward_length": int(vision.intermediate_size),
        "block_count": layers,
        "attention.head_count": int(vision.num_attention_heads),
        "attention.layer_norm_epsilon": float(vision.layer_norm_eps) if widths is None else class_token.EPSILON,
        "projection_dim": int(config.text_config.hidden_size),
        "image_mean": [float(one) for one in model.image_mean],
        "image_std": [float(one) for one in model.image_std],
        **({"feature_layer": [layers]} if projector == "mlp" else {}),
    }
    return {
        "clip.has_vision_encoder": True,
        "clip.projector_type": projector,
        "clip.use_gelu": vision.hidden_act in _GELUS,
        "clip.use_silu": vision.hidden_act == "silu",
        **{f"clip.vision.{key}": value for key, value in own.items()},
    }


def tensors_of(tensors: Tensors, config: Any, model: ModelSettings) -> list[FileTensor]:
    """The weights under llama.cpp's names; matrices in halves, the embeddings of a frame in full."""
    widths = _widths(config, model)
    named = dict(named_weights(tensors, config, model))
    if widths is not None:
        named = class_token.in_order(named, widths)
    width = int(config.vision_config.hidden_size) if widths is None else widths.all
    named = {name: _kept_apart(name, tensor, width) for name, tensor in named.items()}
    return [
        FileTensor(name, tensor, "F32" if _in_full(name, widths) else matrix_type("F16", tensor.shape))
        for name, tensor in named.items()
    ]


def _widths(config: Any, model: ModelSettings | None = None) -> Widths | None:
    """Of a tower with a class token."""
    vision: Any = config.vision_config
    if not has_class_token(vision.model_type):
        return None
    side = (model.image_size if model else int(vision.image_size)) // int(vision.patch_size)
    return Widths(side**2, int(vision.hidden_size), int(vision.num_attention_heads), float(vision.layer_norm_eps))


def _in_full(name: str, widths: Widths | None) -> bool:
    if name in ("v.patch_embd.weight", "v.position_embd.weight"):
        return True
    return widths is not None and name.endswith((".attn_out.weight", ".ffn_down.weight"))  # of small numbers


def named_weights(tensors: Tensors, config: Any, model: ModelSettings) -> Iterator[tuple[str, LazyTensor]]:
    for old, new in _EMBEDDINGS.items():
        if _TOWER + old in tensors:
            yield new, tensors[_TOWER + old]
    yield "v.position_embd.weight", tensors[POSITIONS]
    for layer in range(layers_run(config)):
        for old, new in _LAYER.items():
            for each in ("weight", "bias"):
                yield f"v.blk.{layer}.{new}.{each}", tensors[f"{_TOWER}encoder.layers.{layer}.{old}.{each}"]
    second = "mm.2" if projector_type(config, model) == "mlp" else "mm.1"
    for old, new in (("linear_1", "mm.0"), ("linear_2", second)):
        weight = tensors[f"{names.PROJECTOR}{old}.weight"]
        yield f"{new}.weight", weight
        yield f"{new}.bias", tensors.get(f"{names.PROJECTOR}{old}.bias") or _zeros(weight)


def _kept_apart(name: str, tensor: LazyTensor, width: int) -> LazyTensor:
    """An MLP as wide as the tower is made wider by units that give 0.

    llama.cpp takes it for one whose two matrices were exchanged, as those of its first files were.
    """
    part = name.partition(".blk.")[2].partition(".")[2]
    at = {"ffn_up.weight": 0, "ffn_up.bias": 0, "ffn_down.weight": 1}.get(part)
    if at is None or tensor.shape[at] != width:
        return tensor
    more = (*tensor.shape[:at], _UNITS, *tensor.shape[at + 1 :])
    shape = (*tensor.shape[:at], width + _UNITS, *tensor.shape[at + 1 :])
    return tensor.with_values(lambda: torch.cat([values := tensor.read(), values.new_zeros(more)], dim=at), shape)


def _zeros(weight: LazyTensor) -> LazyTensor:
    rows = weight.shape[0]
    return weight.with_values(lambda: torch.zeros(rows), (rows,))
