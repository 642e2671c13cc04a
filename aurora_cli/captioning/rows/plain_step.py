"""One token of every row through a language model of Llama's plainest build, with nothing around it.

A step of few rows is short: on two cores, 8 rows of a model of 27 M weights take 14 ms by transformers' forward, of
which decorators, masks, norms of six operations and attention by way of interfaces are a fifth. Here are the same
computations in fewer operations; prompts, and all rows of other models, are read by transformers.

Shapes: B rows, T columns of the cache, H heads of queries, K of keys, D channels of a head, C and I of the layers.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aurora_cli.captioning.rows.kv_cache import JoinedCache
from aurora_cli.models.layers.few_rows import FewRowsLinear, linear

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
"""transformers' models that are computed so, where their layers see all that was before."""


class PlainStep:
    """A language model, layer by layer. The model must be one that `has_plain_step`."""

    def __init__(self, language_model: Any) -> None:
        self._model = language_model

    def __call__(
        self, embeds_B1C: Tensor, cache: JoinedCache, mask_B11T: Tensor | None, positions_B1: Tensor
    ) -> Tensor:
        """(B, C), the last hidden state. `mask_B11T` is true where a row sees; none: everywhere."""
        cos_B1D, sin_B1D = self._model.rotary_emb(embeds_B1C, position_ids=positions_B1)
        half = cos_B1D.shape[-1] // 2
        # Turning takes (-x2, x1) times the sine, which is (x2, x1) times a sine whose first half is negative.
        sin_B1D = torch.cat((-sin_B1D[..., :half], sin_B1D[..., half:]), dim=-1)
        if mask_B11T is not None:  # every layer would do it
            mask_B11T = torch.zeros(mask_B11T.shape).masked_fill_(~mask_B11T, -torch.inf)
        hidden_BC = embeds_B1C[:, 0]
        for layer, stored in zip(self._model.layers, cache.joined, strict=True):
            normed_BC = _norm(layer.input_layernorm, hidden_BC)
            queries_BHD, keys_BKD, values_BKD = _heads(layer.self_attn, normed_BC)
            heads, kv_heads = queries_BHD.shape[1], keys_BKD.shape[1]
            turned = torch.cat((queries_BHD, keys_BKD), dim=1)
            turned = torch.addcmul(turned * cos_B1D, turned.roll(half, -1), sin_B1D)
            keys_BKTD, values_BKTD = stored.update(turned[:, heads:, None], values_BKD[:, :, None])
            attended = F.scaled_dot_product_attention(
                # Queries that share keys are as if they were one head's tokens.
                turned[:, :heads].reshape(len(turned), kv_heads, heads // kv_heads, -1),
                keys_BKTD,
                values_BKTD,
                attn_mask=mask_B11T,
                scale=layer.self_attn.scaling,
            )
            hidden_BC = hidden_BC + linear(layer.self_attn.o_proj, attended.reshape(len(turned), -1))
            normed_BC = _norm(layer.post_attention_layernorm, hidden_BC)
            gate_BI, up_BI = linear(layer.mlp.gate_proj, normed_BC), linear(layer.mlp.up_proj, normed_BC)
            hidden_BC = hidden_BC + linear(layer.mlp.down_proj, F.silu(gate_BI).mul_(up_BI))
        return _norm(self._model.norm, hidden_BC)


def has_plain_step(language_model: nn.Module) -> bool:
    """Whether a step of the model can be computed so: float32 on a CPU, where a norm rounds as transformers' does; its
    linear layers plain, and nothing hooked to a layer."""
    config: Any = language_model.config
    kind = type(language_model)
    is_known = kind.__module__.startswith("transformers.") and config.model_type in FAMILIES
    if not is_known or config.hidden_act != "silu" or language_model.training:
        return False
    weights = language_model.parameters()
    return all(weight.is_cpu and weight.dtype is torch.float32 for weight in weights) and all(
        _is_plain(module) for module in language_model.modules()
    )


def _is_plain(module: nn.Module) -> bool:
    is_hooked = bool(module._forward_hooks or module._forward_pre_hooks)
    return not is_hooked and (not isinstance(module, nn.Linear) or type(module) is FewRowsLinear)


def _heads(attention: Any, normed_BC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values."""
    layers = (attention.q_proj, attention.k_proj, attention.v_proj)
    queries, keys, values = (linear(each, normed_BC).view(len(normed_BC), -1, attention.head_dim) for each in layers)
    if hasattr(attention, "q_norm"):
        return _norm(attention.q_norm, queries), _norm(attention.k_norm, keys), values
    return queries, keys, values


def _norm(norm: Any, x: Tensor) -> Tensor:
    return F.rms_norm(x, norm.weight.shape, norm.weight, norm.variance_epsilon)
