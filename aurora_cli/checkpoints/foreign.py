"""Folders of other programs that look like ours and hold another network: named for what they are.

Of multimodal models only LLaVA is read: a CLIP, SigLIP or DINOv2 tower, two linear layers, a language model.
LLaVA-NeXT, LLaVA-OneVision, Video-LLaVA, Qwen-VL and others cut images into tiles or join the parts otherwise.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from aurora_cli.errors import UsageError
from aurora_cli.io.json_files import read_object
from aurora_cli.models.towers.kinds import KINDS, USUAL

LLAVA = "llava"
OFFICIAL_LANGUAGE_MODELS = {
    "llava": "llama",
    "llava_llama": "llama",
    "llava_mistral": "mistral",
    "llava_qwen": "qwen2",
    "llava_qwen2": "qwen2",
    "llava_gemma": "gemma",
    "llava_phi3": "phi3",
}
"""The language model inside, by the `model_type` of haotian-liu's layout and its offspring."""

_CONFIG = "config.json"
_SUPPORTED = (
    "Of multimodal models, LLaVA alone is read: model_type llava as transformers, haotian-liu or xtuner save it, and "
    "what aurora writes. A vision tower and a language model are joined by `aurora train` (model.vision_tower, "
    "model.language_model)."
)


def refuse(path: Path, what: str) -> NoReturn:
    """
    Raises:
        UsageError: always.
    """
    raise UsageError(f"{path}: is {what}, which is not supported", hint=_SUPPORTED)


def refuse_unknown(path: Path) -> None:
    """Raise if `path` is a folder of a model of some other kind, named by its config.

    Raises:
        UsageError: it is.
    """
    if not (path / _CONFIG).is_file():
        return
    config = read_object(path / _CONFIG)
    if config.get("model_type") or config.get("architectures"):
        refuse(path, described(config))


def check_huggingface(path: Path, config: Mapping[str, Any]) -> None:
    """Raise unless transformers' LLaVA computes what ours does from this config.

    Raises:
        UsageError: it is another model, or takes other features of the tower.
    """
    if config.get("model_type", LLAVA) != LLAVA:
        refuse(path, described(config))
    if config.get("quantization_config"):
        refuse(path, f"{described(config)} of quantized weights (quantization_config)")
    vision = config.get("vision_config") or {}
    kind = KINDS.get(str(vision.get("model_type", USUAL)))
    strategy = config.get("vision_feature_select_strategy", "default")
    if kind is not None and strategy != ("default" if kind.class_token else "full"):
        taken = (
            "takes the class token too"
            if kind.class_token
            else "cuts the first patch off, as SigLIP has no class token"
        )
        refuse(path, f"{described(config)} with vision_feature_select_strategy {strategy}, which {taken}")


def check_official(path: Path, config: Mapping[str, Any]) -> str:
    """The `model_type` of the language model in a folder of haotian-liu's layout.

    Raises:
        UsageError: it is one of its offspring, whose images or projector are others.
    """
    what = described(config)
    anyres = str(config.get("image_aspect_ratio", ""))
    others = {
        "mm_projector_type": config.get("mm_projector_type") not in (None, "mlp2x_gelu"),
        "mm_patch_merge_type": config.get("mm_patch_merge_type") not in (None, "flat"),
        "image_aspect_ratio": anyres.startswith("anyres"),
        "mm_vision_select_feature": config.get("mm_vision_select_feature") not in (None, "patch"),
        "quantization_config": bool(config.get("quantization_config")),
        "mm_use_im_start_end": bool(config.get("mm_use_im_start_end")),
    }
    for key, differs in others.items():
        if differs:
            refuse(path, f"{what} with {key} {config[key]!r}")
    if own := config.get("text_model_type"):
        return str(own)
    model_type = str(config.get("model_type", "llava_llama"))
    if model_type not in OFFICIAL_LANGUAGE_MODELS:
        refuse(path, what)
    return OFFICIAL_LANGUAGE_MODELS[model_type]


def feature_layer(path: Path, value: object, layers: int) -> int:
    """A tower's hidden state that the projector reads, counted from the end.

    Raises:
        UsageError: it is several, joined.
    """
    if isinstance(value, list) and len(value) == 1:
        (value,) = value
    if not isinstance(value, int) or isinstance(value, bool) or not -layers - 1 <= value <= layers:
        refuse(
            path, f"a llava of which the projector reads layers {value!r} of a tower of {layers}; one was expected: it"
        )
    return value - layers - 1 if value >= 0 else value


def described(config: Mapping[str, Any]) -> str:
    """A model by its `model_type`, and by its class where the two differ.

    >>> described({"model_type": "llava_next", "architectures": ["LlavaNextForConditionalGeneration"]})
    'a llava_next (LlavaNextForConditionalGeneration)'
    """
    classes = ", ".join(map(str, config.get("architectures") or ()))
    model_type = config.get("model_type")
    if not model_type:
        return f"a {classes}"
    return f"a {model_type} ({classes})" if classes else f"a {model_type}"
