"""A network without memory for its weights has the names and shapes of one that has it."""

import pytest
import torch
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM

from aurora_cli.models.supported import LANGUAGE_MODELS
from aurora_cli.models.weightless import weightless

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "vocab_size": 64, "head_dim": 8, "pad_token_id": 0, "image_size": 28,
         "patch_size": 14}  # fmt: skip


def shapes(network: torch.nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in network.state_dict().items()}


@pytest.mark.parametrize("kind", [*LANGUAGE_MODELS, "clip_vision_model", "siglip_vision_model", "dinov2"])
def test_names_and_shapes_are_those_of_the_network_itself(kind):
    config = AutoConfig.for_model(kind, **SMALL)
    made = AutoModelForCausalLM if kind in LANGUAGE_MODELS else AutoModel
    with weightless():
        network = made.from_config(config)
    assert shapes(network) == shapes(made.from_config(config))
    matrices = [weight for weight in network.parameters() if weight.ndim > 1 and min(weight.shape) > 1]
    assert matrices
    assert all(weight.is_meta for weight in matrices)


def test_behind_it_tensors_have_memory_as_ever():
    with weightless():
        assert torch.empty(2).is_meta
        assert torch.empty(2, device="cpu").device.type == "cpu"
        assert torch.arange(2).tolist() == [0, 1]
    assert torch.empty(2).device.type == "cpu"
