"""Lean layers beside transformers' own: the same outputs and gradients, and what each keeps, worked by hand."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    MistralConfig,
    Qwen2Config,
    Qwen3Config,
    SmolLM3Config,
)
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

from aurora_cli.models.layers.lean import (
    LeanGatedMLP,
    LeanQuickGELU,
    LeanRMSNorm,
    gated,
    quick_gelu,
    rms_norm,
    use_lean_layers,
)

SIZES: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "pad_token_id": 0,
}  # fmt: skip
TOKENS, CHANNELS, INNER = 5, 32, 48
FLOAT = 4


def gradients(model: nn.Module, **inputs: Any) -> tuple[Tensor, list[Tensor]]:
    output: Any = model(**inputs)
    loss = output.loss if "labels" in inputs else output.last_hidden_state.square().sum()
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return loss, [each for each in torch.autograd.grad(loss, learned, allow_unused=True) if each is not None]


@pytest.mark.parametrize("kind", [LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config, SmolLM3Config])
def test_a_language_model_learns_as_with_transformers_layers(kind: Any) -> None:
    plain: Any = AutoModelForCausalLM.from_config(kind(**SIZES, attn_implementation="sdpa"))
    lean = copy.deepcopy(plain)
    use_lean_layers(lean)
    replaced = [type(module) for module in lean.modules()]
    assert replaced.count(LeanGatedMLP) == 2
    assert replaced.count(LeanRMSNorm) >= 5
    assert lean.state_dict().keys() == plain.state_dict().keys()
    ids = torch.randint(1, 50, (2, 9))
    torch.testing.assert_close(gradients(lean, input_ids=ids, labels=ids), gradients(plain, input_ids=ids, labels=ids))


def test_a_tower_learns_as_with_transformers_layers() -> None:
    config = CLIPVisionConfig(
        image_size=28, patch_size=14, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4
    )
    plain = CLIPVisionModel(config)
    lean = copy.deepcopy(plain)
    use_lean_layers(lean)
    assert any(isinstance(module, LeanQuickGELU) for module in lean.modules())
    pixels = torch.randn(2, 3, 28, 28)
    torch.testing.assert_close(gradients(lean, pixel_values=pixels), gradients(plain, pixel_values=pixels))


def test_a_gated_mlp_of_another_activation_stays() -> None:
    mlp = LlamaMLP(LlamaConfig(**SIZES, hidden_act="gelu"))
    use_lean_layers(mlp)
    assert type(mlp) is LlamaMLP


def test_gradients_are_those_of_finite_differences() -> None:
    gate, up = (torch.randn(3, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(gated, (gate, up))
    assert torch.autograd.gradcheck(quick_gelu, (gate,))


def test_a_norms_gradients_are_those_of_its_formula() -> None:
    x, weight, direction = torch.randn(2, 3, 8, requires_grad=True), torch.rand(8, requires_grad=True), torch.randn(8)

    def by_torch(x: Tensor) -> Tensor:
        return weight.double() * x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt()

    expected = torch.autograd.grad((by_torch(x.double()) * direction.double()).sum(), (x, weight))
    found = torch.autograd.grad((rms_norm(x, weight, 1e-6) * direction).sum(), (x, weight))
    torch.testing.assert_close(found, expected)


def kept(module: nn.Module, x: Tensor) -> int:
    """Bytes of the activations that a forward pass leaves for the backward pass, each once, the input aside."""
    found: dict[int, int] = {}
    own = {x.data_ptr(), *(parameter.data_ptr() for parameter in module.parameters())}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            found[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = module(x)
    del output
    return sum(found.values())


def test_what_layers_keep() -> None:
    x = torch.randn(TOKENS, CHANNELS, requires_grad=True)
    mlp, norm = LlamaMLP(LlamaConfig(**SIZES)), LlamaRMSNorm(CHANNELS)
    # Gate, its activation, up, and the product.
    assert kept(mlp, x) == 4 * TOKENS * INNER * FLOAT
    # What is squared is the input; then a number a token, and the input by it.
    assert kept(norm, x) == (TOKENS + TOKENS * CHANNELS) * FLOAT
    use_lean_layers(mlp)
    use_lean_layers(norm)
    assert kept(mlp, x) == 3 * TOKENS * INNER * FLOAT
    assert kept(norm, x) == TOKENS * FLOAT


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_norm_with_weights_of_another_type_gives_what_transformers_does(dtype: torch.dtype) -> None:
    plain = LlamaRMSNorm(CHANNELS)
    with torch.no_grad():
        plain.weight.uniform_(0.5, 2.0)
    lean = copy.deepcopy(plain)
    use_lean_layers(lean)
    x = torch.randn(TOKENS, CHANNELS).to(dtype).requires_grad_()
    assert lean(x).dtype == plain(x).dtype == torch.float32
    assert torch.equal(lean(x), plain(x))
    of_lean, of_plain = (torch.autograd.grad(each(x).sum(), (x, each.weight)) for each in (lean, plain))
    torch.testing.assert_close(of_lean, of_plain)
    with torch.no_grad():
        assert torch.equal(lean(x), plain(x))
        half = copy.deepcopy(plain).to(dtype)
        expected = half(x)
        use_lean_layers(half)
        assert torch.equal(half(x), expected)


def test_what_is_not_learned_is_computed_without_a_change_of_what_came_in() -> None:
    gate, up = torch.randn(3, 4), torch.randn(3, 4)
    before = gate.clone(), up.clone()
    torch.testing.assert_close(gated(gate, up), nn.functional.silu(gate) * up)
    torch.testing.assert_close(quick_gelu(gate), gate * torch.sigmoid(1.702 * gate))
    assert torch.equal(gate, before[0])
    assert torch.equal(up, before[1])
