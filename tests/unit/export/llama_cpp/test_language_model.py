"""The language model's keys, names and rows, as llama.cpp reads them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma3TextConfig, LlamaConfig, MistralConfig, Qwen2Config, Qwen3Config

from aurora_cli.checkpoints import names
from aurora_cli.checkpoints.lazy_tensors import Tensors, in_memory
from aurora_cli.errors import UsageError
from aurora_cli.export.llama_cpp import language_model

SIZES: dict[str, Any] = {
    "vocab_size": 50, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128,
}  # fmt: skip


def weights(config: Any) -> Tensors:
    model: Any = AutoModelForCausalLM.from_config(config)
    state = {f"language_model.{name}": values.detach() for name, values in model.state_dict().items()}
    if config.tie_word_embeddings:
        state.pop(names.HEAD)
    return in_memory(state, Path("x"))


def rotated(values_THD: torch.Tensor, neighbours: bool) -> torch.Tensor:
    """Rotary positions of rows 0..T-1, of neighbouring values of a head or of its two halves."""
    tokens, _, size = values_THD.shape
    angles = torch.arange(tokens)[:, None] / 10_000.0 ** (torch.arange(size // 2) * 2 / size)
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]
    pairs = values_THD.unflatten(-1, (-1, 2)).unbind(-1) if neighbours else values_THD.chunk(2, dim=-1)
    turned = pairs[0] * cos - pairs[1] * sin, pairs[0] * sin + pairs[1] * cos
    return torch.stack(turned, dim=-1).flatten(-2) if neighbours else torch.cat(turned, dim=-1)


def test_rotating_neighbours_of_llamas_rows_is_rotating_the_halves_of_transformers() -> None:
    torch.manual_seed(0)
    x, query, key = torch.randn(5, 12), torch.randn(16, 12), torch.randn(16, 12)

    def products(query: torch.Tensor, key: torch.Tensor, neighbours: bool) -> torch.Tensor:
        q, k = (rotated((x @ rows.T).unflatten(-1, (2, 8)), neighbours) for rows in (query, key))
        return torch.einsum("shd,thd->hst", q, k)

    halves = products(query, key, False)
    laid_out = products(language_model.interleaved(query, 2), language_model.interleaved(key, 2), True)
    assert torch.allclose(halves, laid_out, atol=1e-4)
    assert not torch.allclose(halves, products(query, key, True), atol=1e-1)


def test_only_llamas_queries_and_keys_are_laid_out_anew() -> None:
    for config, moves in ((LlamaConfig(**SIZES, attention_bias=True), True), (Qwen2Config(**SIZES), False)):
        tensors = weights(config)
        written = {each.name: each for each in language_model.tensors_of(tensors, config, 50, "F16")}
        layer = f"{names.LANGUAGE}model.layers.1."
        for part in ("weight", "bias"):
            key = tensors[f"{layer}self_attn.k_proj.{part}"].read()
            expected = language_model.interleaved(key, 2) if moves else key
            assert torch.equal(written[f"blk.1.attn_k.{part}"].tensor.read(), expected)
            value = tensors[f"{layer}self_attn.v_proj.{part}"].read()
            assert torch.equal(written[f"blk.1.attn_v.{part}"].tensor.read(), value)
        assert written["blk.0.ffn_norm.weight"].kind == "F32"
        assert written["blk.0.ffn_down.weight"].kind == "F16"


def test_keys_say_the_sizes() -> None:
    keys = language_model.metadata_of(Qwen3Config(**SIZES, head_dim=16, rms_norm_eps=1e-5, rope_theta=1e6), 50)
    assert keys == {
        "qwen3.vocab_size": 50,
        "qwen3.context_length": 128,
        "qwen3.embedding_length": 32,
        "qwen3.block_count": 2,
        "qwen3.feed_forward_length": 48,
        "qwen3.attention.head_count": 4,
        "qwen3.attention.head_count_kv": 2,
        "qwen3.attention.key_length": 16,
        "qwen3.attention.value_length": 16,
        "qwen3.attention.layer_norm_rms_epsilon": 1e-5,
        "qwen3.rope.dimension_count": 16,
        "qwen3.rope.freq_base": 1e6,
    }


def scaled(**rope: Any) -> LlamaConfig:
    return LlamaConfig(**SIZES, rope_scaling={"rope_theta": 10_000.0, **rope})


def test_keys_say_how_positions_are_stretched() -> None:
    linear = language_model.metadata_of(scaled(rope_type="linear", factor=4.0), 50)
    assert (linear["llama.rope.scaling.type"], linear["llama.rope.scaling.factor"]) == ("linear", 4.0)
    yarn = language_model.metadata_of(
        scaled(rope_type="yarn", factor=4.0, original_max_position_embeddings=32, beta_fast=16), 50
    )
    assert yarn["llama.rope.scaling.type"] == "yarn"
    assert yarn["llama.rope.scaling.original_context_length"] == 32
    assert (yarn["llama.rope.scaling.yarn_beta_fast"], yarn["llama.rope.scaling.yarn_beta_slow"]) == (16.0, 1.0)
    assert "llama.rope.scaling.type" not in language_model.metadata_of(scaled(rope_type="dynamic", factor=2.0), 50)


def test_llama_3s_frequencies_are_divided_as_transformers_divides_them() -> None:
    config = scaled(
        rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=64
    )
    factors = {each.name: each for each in language_model.tensors_of(weights(config), config, 50, "F16")}
    found = factors["rope_freqs.weight"].tensor.read()
    model: Any = AutoModelForCausalLM.from_config(config)
    plain = 1.0 / 10_000.0 ** (torch.arange(0, 8, 2) / 8)
    assert torch.allclose(plain / found, model.model.rotary_emb.inv_freq, rtol=1e-6)
    assert found[0] == 1.0  # 64 / 2 pi waves of the first fit into the context: more than 4
    assert found[-1] == 8.0


def test_a_tied_head_is_not_written_and_rows_without_tokens_are_cut_off() -> None:
    tied = LlamaConfig(**SIZES, tie_word_embeddings=True)
    written = {each.name: each.tensor for each in language_model.tensors_of(weights(tied), tied, 47, "F16")}
    assert "output.weight" not in written
    assert written["token_embd.weight"].shape == (47, 32) == tuple(written["token_embd.weight"].read().shape)


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (Gemma3TextConfig(), "none of the kinds that are proved"),
        (MistralConfig(**SIZES, sliding_window=64), "reaches 64 tokens back"),
        (LlamaConfig(**SIZES, hidden_act="relu"), "have relu"),
        (scaled(rope_type="yarn", factor=2.0, attention_factor=1.0), "have attention_factor"),
    ],
    ids=["gemma", "sliding window", "relu", "attention factor"],
)
def test_what_llama_cpp_would_compute_otherwise_is_refused_with_the_list(config: Any, reason: str) -> None:
    with pytest.raises(UsageError, match=reason) as refused:
        language_model.architecture_of(config)
    assert refused.value.hint is not None
    assert "llama, mistral, qwen2, qwen3" in refused.value.hint
