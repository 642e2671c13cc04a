"""A language model of Llama's plainest build, with nothing around it.

A step of few rows is short: on two cores, 8 rows of a model of 27 M weights take 14 ms by transformers' forward, of
which decorators, masks, norms of six operations and attention by way of interfaces are a fifth. Here are the same
computations in fewer operations; other models are read by transformers.

Prompts are packed, so that nothing is padded, and the last layer is computed for the last token of each: of the others
only its keys and values are seen by what comes next.

Shapes: B rows, N tokens of all rows, T columns of the cache, H heads of queries, K of keys, D channels of a head, C and
I of the layers.
"""

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aurora_cli.captioning.rows.kv_cache import JoinedCache
from aurora_cli.models.layers.few_rows import FewRowsLinear, linear

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
"""transformers' models that are computed so, where their layers see all that was before."""


class PlainModel:
    """A language model, layer by layer. The model must be one that `is_plain`."""

    def __init__(self, language_model: Any) -> None:
        self._model = language_model

    def read(self, embeds_NC: Tensor, lengths: Sequence[int], cache: JoinedCache) -> Tensor:
        """(B, C), the last hidden states of prompts, which lie one behind the other and have so many tokens each."""
        bounds = [*accumulate(lengths, initial=0)]
        cos_N1D, sin_N1D = self._rotation(embeds_NC, torch.cat([torch.arange(length) for length in lengths]))
        hidden_NC = embeds_NC
        for layer, stored in zip(self._model.layers, cache.joined, strict=True):
            is_last = layer is self._model.layers[-1]
            queries_NHD, keys_NKD, values_NKD = _heads(layer, hidden_NC, cos_N1D, sin_N1D)
            attended = []
            for row, (start, end) in enumerate(pairwise(bounds)):
                keys_KTD, values_KTD = keys_NKD[start:end].transpose(0, 1), values_NKD[start:end].transpose(0, 1)
                stored.write_prompt(row, keys_KTD, values_KTD)
                asking = queries_NHD[end - 1 if is_last else start : end].transpose(0, 1)
                attended.append(_attend(layer, asking, keys_KTD, values_KTD, is_causal=not is_last))
            if is_last:
                hidden_NC = hidden_NC[torch.tensor(bounds[1:]) - 1]
            hidden_NC = _after_attention(layer, hidden_NC, torch.cat(attended))
        return _norm(self._model.norm, hidden_NC)

    def step(self, embeds_BC: Tensor, cache: JoinedCache, mask_B11T: Tensor | None, positions_B: Tensor) -> Tensor:
        """(B, C), the last hidden states. `mask_B11T` is true where a row sees; none: everywhere."""
        cos_B1D, sin_B1D = self._rotation(embeds_BC, positions_B)
        if mask_B11T is not None:  # every layer would do it
            mask_B11T = torch.zeros(mask_B11T.shape).masked_fill_(~mask_B11T, -torch.inf)
        hidden_BC = embeds_BC
        for layer, stored in zip(self._model.layers, cache.joined, strict=True):
            queries_BHD, keys_BKD, values_BKD = _heads(layer, hidden_BC, cos_B1D, sin_B1D)
            keys_BKTD, values_BKTD = stored.update(keys_BKD[:, :, None], values_BKD[:, :, None])
            attended_BKGD = F.scaled_dot_product_attention(
                # Queries that share keys are as if they were one head's tokens.
                queries_BHD.unflatten(1, (keys_BKTD.shape[1], -1)),
                keys_BKTD,
                values_BKTD,
                attn_mask=mask_B11T,
                scale=layer.self_attn.scaling,
            )
            hidden_BC = _after_attention(layer, hidden_BC, attended_BKGD.flatten(1))
        return _norm(self._model.norm, hidden_BC)

    def _rotation(self, like: Tensor, positions_N: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine, (N, 1, D) each. Turning takes (-x2, x1) times the sine, which is (x2, x1) times a sine whose
        first half is negative, as it is here."""
        cos_N1D, sin_N1D = self._model.rotary_emb(like, position_ids=positions_N[:, None])
        before, behind = sin_N1D.chunk(2, dim=-1)
        return cos_N1D, torch.cat((-before, behind), dim=-1)


def is_plain(language_model: nn.Module) -> bool:
    """Whether the model can be computed so: float32 on a CPU, where a norm rounds as transformers' does; its
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


def _heads(layer: Any, hidden_NC: Tensor, cos_N1D: Tensor, sin_N1D: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries and keys, turned, and values: (N, H, D), (N, K, D), (N, K, D)."""
    attention, normed_NC = layer.self_attn, _norm(layer.input_layernorm, hidden_NC)
    queries, keys, values = (
        linear(each, normed_NC).view(len(normed_NC), -1, attention.head_dim)
        for each in (attention.q_proj, attention.k_proj, attention.v_proj)
    )
    if hasattr(attention, "q_norm"):
        queries, keys = _norm(attention.q_norm, queries), _norm(attention.k_norm, keys)
    both = torch.cat((queries, keys), dim=1)
    turned = torch.addcmul(both * cos_N1D, both.roll(both.shape[-1] // 2, -1), sin_N1D)
    return turned[:, : queries.shape[1]], turned[:, queries.shape[1] :], values


def _attend(layer: Any, queries_HTD: Tensor, keys_KTD: Tensor, values_KTD: Tensor, *, is_causal: bool) -> Tensor:
    """(T, H * D) of one prompt."""
    attended_1HTD = F.scaled_dot_product_attention(
        queries_HTD[None],
        keys_KTD[None],
        values_KTD[None],
        is_causal=is_causal,
        scale=layer.self_attn.scaling,
        enable_gqa=len(queries_HTD) != len(keys_KTD),
    )
    return attended_1HTD[0].transpose(0, 1).flatten(1)


def _after_attention(layer: Any, hidden_NC: Tensor, attended: Tensor) -> Tensor:
    hidden_NC = hidden_NC + linear(layer.self_attn.o_proj, attended)
    normed_NC = _norm(layer.post_attention_layernorm, hidden_NC)
    gate_NI, up_NI = linear(layer.mlp.gate_proj, normed_NC), linear(layer.mlp.up_proj, normed_NC)
    return hidden_NC + linear(layer.mlp.down_proj, F.silu(gate_NI).mul_(up_NI))


def _norm(norm: Any, x: Tensor) -> Tensor:
    return F.rms_norm(x, norm.weight.shape, norm.weight, norm.variance_epsilon)
