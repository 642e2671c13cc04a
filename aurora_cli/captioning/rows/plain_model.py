"""A language model of Llama's plainest build, with nothing around it.

A step of few rows is short: on two cores, 8 rows of a model of 27 M weights take 14 ms by transformers' forward, of
which decorators, masks, norms of six operations and attention by way of interfaces are a fifth, and looking up modules
and weights is another tenth. Here are the same computations in fewer operations, of weights that were looked up before;
other models are read by transformers.

Prompts are packed, so that nothing is padded, and the last layer is computed for the last token of each: of the others
only its keys and values are seen by what comes next.

Shapes: B rows, N tokens of all rows, T columns of the cache or tokens of a row, H heads of queries, K of keys, G of
queries that share keys, D channels of a head, C channels of the model.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aurora_cli.captioning.rows.kv_cache import JoinedCache
from aurora_cli.models.layers.few_rows import FewRowsLinear, reader

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
"""transformers' models that are computed so, where their layers see all that was before."""


class PlainModel:
    """A language model, layer by layer. The model must be one that `is_plain`, and its weights stay as they are."""

    def __init__(self, language_model: Any) -> None:
        self._rotary_emb = language_model.rotary_emb
        self._layers = [_Layer.of(layer) for layer in language_model.layers]
        self._norm = _norm_of(language_model.norm)

    def read(self, embeds_NC: Tensor, lengths: Sequence[int], cache: JoinedCache) -> Tensor:
        """(B, C), the last hidden states of prompts, which lie one behind the other and have so many tokens each."""
        bounds = [*accumulate(lengths, initial=0)]
        cos_N1D, sin_N1D = self._rotation(embeds_NC, torch.cat([torch.arange(length) for length in lengths]))
        hidden_NC = embeds_NC
        for layer, stored in zip(self._layers, cache.joined, strict=True):
            is_last = layer is self._layers[-1]
            queries_NHD, keys_NKD, values_NKD = layer.heads(hidden_NC, cos_N1D, sin_N1D)
            attended = []
            for row, (start, end) in enumerate(pairwise(bounds)):
                keys_KTD, values_KTD = keys_NKD[start:end].transpose(0, 1), values_NKD[start:end].transpose(0, 1)
                stored.write_prompt(row, keys_KTD, values_KTD)
                asking = queries_NHD[end - 1 if is_last else start : end].transpose(0, 1)
                attended.append(_attend(asking, keys_KTD, values_KTD, layer.scaling, is_causal=not is_last))
            if is_last:
                hidden_NC = hidden_NC[torch.tensor(bounds[1:]) - 1]
            hidden_NC = layer.after_attention(hidden_NC, torch.cat(attended))
        return self._norm(hidden_NC)

    def step(self, embeds_BC: Tensor, cache: JoinedCache, mask_B11T: Tensor | None, positions_B: Tensor) -> Tensor:
        """(B, C), the last hidden states. `mask_B11T` is true where a row sees; none: everywhere."""
        cos_B1D, sin_B1D = self._rotation(embeds_BC, positions_B)
        if mask_B11T is not None:  # every layer would do it
            mask_B11T = torch.zeros(mask_B11T.shape).masked_fill_(~mask_B11T, -torch.inf)
        hidden_BC = embeds_BC
        for layer, stored in zip(self._layers, cache.joined, strict=True):
            queries_BHD, keys_BKD, values_BKD = layer.heads(hidden_BC, cos_B1D, sin_B1D)
            keys_BKTD, values_BKTD = stored.update(keys_BKD[:, :, None], values_BKD[:, :, None])
            attended_BKGD = F.scaled_dot_product_attention(
                # Queries that share keys are as if they were one head's tokens.
                queries_BHD.view(len(queries_BHD), keys_BKTD.shape[1], -1, layer.head_dim),
                keys_BKTD,
                values_BKTD,
                attn_mask=mask_B11T,
                scale=layer.scaling,
            )
            hidden_BC = layer.after_attention(hidden_BC, attended_BKGD.flatten(1))
        return self._norm(hidden_BC)

    def _rotation(self, like: Tensor, positions_N: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine, (N, 1, D) each. Turning takes (-x2, x1) times the sine, which is (x2, x1) times a sine whose
        first half is negative, as it is here."""
        cos_N1D, sin_N1D = self._rotary_emb(like, position_ids=positions_N[:, None])
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


class _Layer(NamedTuple):
    """What a layer computes, of weights that were looked up."""

    norm: Callable[[Tensor], Tensor]
    queries: Callable[[Tensor], Tensor]
    keys: Callable[[Tensor], Tensor]
    values: Callable[[Tensor], Tensor]
    head_norms: tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]] | None
    """Of queries and keys."""
    out: Callable[[Tensor], Tensor]
    norm_of_attended: Callable[[Tensor], Tensor]
    gate: Callable[[Tensor], Tensor]
    up: Callable[[Tensor], Tensor]
    down: Callable[[Tensor], Tensor]
    head_dim: int
    scaling: float

    @classmethod
    def of(cls, layer: Any) -> "_Layer":
        attention, mlp = layer.self_attn, layer.mlp
        return cls(
            _norm_of(layer.input_layernorm),
            reader(attention.q_proj),
            reader(attention.k_proj),
            reader(attention.v_proj),
            (_norm_of(attention.q_norm), _norm_of(attention.k_norm)) if hasattr(attention, "q_norm") else None,
            reader(attention.o_proj),
            _norm_of(layer.post_attention_layernorm),
            reader(mlp.gate_proj),
            reader(mlp.up_proj),
            reader(mlp.down_proj),
            attention.head_dim,
            attention.scaling,
        )

    def heads(self, hidden_NC: Tensor, cos_N1D: Tensor, sin_N1D: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries and keys, turned, and values: (N, H, D), (N, K, D), (N, K, D)."""
        normed_NC = self.norm(hidden_NC)
        shape = (len(normed_NC), -1, self.head_dim)
        queries_NHD, keys_NKD = self.queries(normed_NC).view(shape), self.keys(normed_NC).view(shape)
        if self.head_norms is not None:
            query_norm, key_norm = self.head_norms
            queries_NHD, keys_NKD = query_norm(queries_NHD), key_norm(keys_NKD)
        both = torch.cat((queries_NHD, keys_NKD), dim=1)
        turned = torch.addcmul(both * cos_N1D, both.roll(self.head_dim // 2, -1), sin_N1D)
        count = queries_NHD.shape[1]
        return turned[:, :count], turned[:, count:], self.values(normed_NC).view(shape)

    def after_attention(self, hidden_NC: Tensor, attended: Tensor) -> Tensor:
        hidden_NC = hidden_NC + self.out(attended)
        normed_NC = self.norm_of_attended(hidden_NC)
        return hidden_NC + self.down(F.silu(self.gate(normed_NC)).mul_(self.up(normed_NC)))


def _attend(queries_HTD: Tensor, keys_KTD: Tensor, values_KTD: Tensor, scaling: float, *, is_causal: bool) -> Tensor:
    """(T, H * D) of one prompt."""
    attended_1HTD = F.scaled_dot_product_attention(
        queries_HTD[None],
        keys_KTD[None],
        values_KTD[None],
        is_causal=is_causal,
        scale=scaling,
        enable_gqa=len(queries_HTD) != len(keys_KTD),
    )
    return attended_1HTD[0].transpose(0, 1).flatten(1)


def _norm_of(norm: Any) -> Callable[[Tensor], Tensor]:
    return partial(F.rms_norm, normalized_shape=norm.weight.shape, weight=norm.weight, eps=norm.variance_epsilon)
