"""Which vision towers and language models the network is made of, and what is said of any other kind."""

from collections.abc import Mapping
from typing import Any

from transformers import CONFIG_MAPPING, AutoModelForCausalLM
from transformers.conversion_mapping import get_checkpoint_conversion_mapping
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from aurora_cli.errors import UsageError
from aurora_cli.models.weightless import weightless

LANGUAGE_MODELS = "llama", "mistral", "qwen2", "qwen3", "gemma3_text", "phi3", "smollm3", "olmo2"
"""By `model_type`: those that tests compare with plain transformers. Others of their build are taken as well."""

_LANGUAGE_HINT = (
    f"Supported are causal language models of Llama's build: {', '.join(LANGUAGE_MODELS)} and what is built like them."
)
_MULTIMODAL = ("vision_config", "audio_config", "text_config", "mm_vision_tower", "vision_tower", "img_processor")
_OTHER_MEMORY = ("mamba", "linear_attn", "conv", "mixer", "temporal_block")
"""Parts of a layer that carry a state from one sample of a pack to the next."""


def check_language_model(name: str, config: Mapping[str, Any], *, in_llava: bool = False) -> None:
    """Raise unless `config` is that of a language model whose layers and head LLaVA computes as its own class does.

    One that is in a LLaVA already (`in_llava`) is as LLaVA computes it: its logits are neither scaled nor capped.

    Raises:
        UsageError: it is of another kind.
    """
    model_type = str(config.get("model_type", "llama"))
    problem = _problem(model_type, config) or (None if in_llava else _problem_of_logits(config))
    if problem is not None:
        raise UsageError(
            f"{name} is a {model_type}, which cannot be the language model: {problem}", hint=_LANGUAGE_HINT
        )


def _problem(model_type: str, config: Mapping[str, Any]) -> str | None:
    multimodal = [key for key in _MULTIMODAL if config.get(key)]
    if multimodal:
        return f"it is multimodal itself (its config has {multimodal[0]}); a language model alone was expected"
    if model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return "transformers has no causal language model of this type"
    if get_checkpoint_conversion_mapping(model_type) is not None:
        return "its weights are stored otherwise than they are in memory"
    if config.get("quantization_config"):
        return "its weights are quantized; take the folder with float weights"
    return _problem_of_build(model_type, config)


def _problem_of_logits(config: Mapping[str, Any]) -> str | None:
    scales = any(config.get(key) not in (None, 1, 1.0) for key in ("logit_scale", "logits_scaling"))
    capped = scales or config.get("final_logit_softcapping")
    return "it scales or caps its logits, which LLaVA does not" if capped else None


def _problem_of_build(model_type: str, config: Mapping[str, Any]) -> str | None:
    """Found on a model without memory for its weights."""
    try:
        made = CONFIG_MAPPING[model_type].from_dict(dict(config))
        with weightless():
            model: Any = AutoModelForCausalLM.from_config(made)
    except Exception as error:  # each version, and each kind, checks configs with other exceptions
        return f"transformers cannot build it: {error}"
    inner = getattr(model, "model", None)
    layers = getattr(inner, "layers", None)
    if layers is None or not hasattr(inner, "embed_tokens") or not hasattr(model, "lm_head"):
        return "it has no model.layers, model.embed_tokens and lm_head"
    if model.lm_head.bias is not None:
        return "its head has a bias"
    if any(
        not hasattr(layer, "self_attn") or any(hasattr(layer, other) for other in _OTHER_MEMORY) for layer in layers
    ):
        return "some of its layers are not plain attention, and samples of a pack would see each other"
    return None
