"""Folders of a vision tower and of a language model, as people download them, made small."""

import json
from pathlib import Path
from typing import Any

from tests.tokenizer_families import FAMILIES

VISION = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "image_size": 56,
    "patch_size": 14,
}
PROCESSOR = {
    "do_resize": True,
    "size": {"height": 56, "width": 56},
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.5, 0.6, 0.7],
}


def tower(folder: Path, config: dict[str, Any] | None = None, processor: dict[str, Any] | None = PROCESSOR) -> Path:
    """A tower's folder without weights: its config.json, and its image processor's file unless there is to be none."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {"model_type": "siglip_vision_model", **VISION} if config is None else config
    (folder / "config.json").write_text(json.dumps(config))
    if processor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def language_model(folder: Path, family: str = "smollm2", **config: Any) -> Path:
    """A language model's folder without weights: its config.json and its tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    FAMILIES[family](folder)
    (folder / "config.json").write_text(
        json.dumps({"model_type": "llama", "max_position_embeddings": 8192, "vocab_size": 600, **config})
    )
    return folder


def with_weights(root: Path, family: str = "smollm2", layers: int = 3) -> tuple[Path, Path]:
    """A SigLIP tower of so many layers and a language model that run, in folders as transformers saves them.

    Of the family "qwen2", Qwen's tokenizer, the model is a Qwen 3.
    """
    import torch
    from tokenizers import Tokenizer
    from transformers import (
        LlamaConfig,
        LlamaForCausalLM,
        Qwen3Config,
        Qwen3ForCausalLM,
        SiglipVisionConfig,
        SiglipVisionModel,
    )

    torch.manual_seed(0)
    of_tower = tower(root / "siglip")
    vision = {**VISION, "num_hidden_layers": layers}
    SiglipVisionModel(SiglipVisionConfig(**vision)).save_pretrained(of_tower)
    of_language = language_model(root / "smollm", family)
    rows = Tokenizer.from_file(str(of_language / "tokenizer.json")).get_vocab_size(with_added_tokens=True)
    kinds = {"smollm2": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen3Config, Qwen3ForCausalLM)}
    config_class, model_class = kinds[family]
    config = config_class(
        vocab_size=rows,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=8192,
        tie_word_embeddings=True,
        bos_token_id=rows - 2,
        eos_token_id=rows - 1,
    )
    model_class(config).save_pretrained(of_language)
    return of_tower, of_language
