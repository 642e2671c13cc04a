"""Tiny networks, and the recorded runs of the original."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, CLIPVisionConfig, Dinov2Config, LlamaConfig, PreTrainedConfig, SiglipVisionConfig

from aurora_cli.config.merging import TokenMerging
from aurora_cli.models.auroracap import AuroraCap, AuroraCapConfig

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(autouse=True)
def same_random_numbers() -> None:
    torch.manual_seed(0)


@pytest.fixture
def original() -> Callable[..., TokenMerging]:
    """Merging as the original has it."""

    def merging(kept_ratio: float, slowfast: bool = False) -> TokenMerging:
        return TokenMerging(kept_ratio=kept_ratio, schedule="constant", proportional_attention=False, slowfast=slowfast)

    return merging


def clip_config(**changes: Any) -> CLIPVisionConfig:
    fields = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4}
    return CLIPVisionConfig(**(fields | {"image_size": 56, "patch_size": 14} | changes))


def siglip_config(**changes: Any) -> SiglipVisionConfig:
    fields = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4, "num_attention_heads": 4}
    return SiglipVisionConfig(**(fields | {"image_size": 56, "patch_size": 14} | changes))


def dinov2_config(**changes: Any) -> Dinov2Config:
    """Layers are scaled by more than nothing changes."""
    fields = {"hidden_size": 32, "mlp_ratio": 2, "num_hidden_layers": 4, "num_attention_heads": 4}
    return Dinov2Config(**(fields | {"image_size": 56, "patch_size": 14, "layerscale_value": 0.7} | changes))


def llama_config(**changes: Any) -> LlamaConfig:
    fields = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    special = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    return LlamaConfig(**(fields | {"vocab_size": 64, "max_position_embeddings": 512} | special | changes))


@pytest.fixture
def tiny() -> Callable[..., AuroraCap]:
    """A random model; `vision`, `text` and `merging` as given."""

    def build(
        vision: PreTrainedConfig | None = None,
        text: PreTrainedConfig | None = None,
        merging: TokenMerging | None = None,
    ) -> AuroraCap:
        torch.manual_seed(1)
        text = text or llama_config()
        config = AuroraCapConfig(
            vision_config=vision or clip_config(),
            text_config=text,
            image_token_index=text.vocab_size,
            merging=None if merging is None else merging.model_dump(),
        )
        return AuroraCap(config).eval()

    return build


def original_name(part: str, name: str) -> str:
    """The in-memory name of a tensor of the original's folders."""
    if part == "visual_encoder":
        return f"model.vision_tower.{name.removeprefix('vision_model.')}"
    if part == "projector":
        _, layer, kind = name.split(".")
        return f"model.multi_modal_projector.linear_{ {'0': 1, '2': 2}[layer] }.{kind}"
    return f"model.language_model.{name.removeprefix('model.')}" if name.startswith("model.") else name


@pytest.fixture
def golden_model() -> AuroraCap:
    """The tiny AuroraCap that the original's runs were recorded with."""
    folder = GOLDEN / "model" / "weights"
    model = AuroraCap(
        AuroraCapConfig(
            vision_config=CLIPVisionConfig.from_pretrained(folder / "visual_encoder"),
            text_config=AutoConfig.from_pretrained(folder / "llm"),
            image_token_index=2000,
        )
    )
    tensors = {
        original_name(part, name): tensor
        for part in ("visual_encoder", "projector", "llm")
        for name, tensor in load_file(folder / part / "model.safetensors").items()
    }
    model.load_state_dict(tensors)
    return model.eval()


def golden_case(*parts: str) -> tuple[dict[str, Any], Path]:
    folder = GOLDEN.joinpath(*parts)
    return json.loads((folder / "manifest.json").read_text()), folder


@pytest.fixture
def configs() -> SimpleNamespace:
    """Builders of tiny configs."""
    return SimpleNamespace(clip=clip_config, siglip=siglip_config, dinov2=dinov2_config, llama=llama_config)


@pytest.fixture
def golden() -> SimpleNamespace:
    """`case(*folders)` -> (manifest, folder); `name(part, name)` -> the in-memory name of an original's tensor."""
    return SimpleNamespace(case=golden_case, name=original_name)
