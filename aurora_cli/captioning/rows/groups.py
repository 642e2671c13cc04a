"""Rows that take their steps together, and how the language model reads them.

Shapes: B rows, T tokens, C channels, N visual tokens of all rows, F frames of one row, S their side, V words.
"""

import inspect
from collections.abc import Sequence
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from aurora_cli.captioning.rows.kv_cache import JoinedCache
from aurora_cli.captioning.rows.plain_model import PlainModel, is_plain
from aurora_cli.models import packed_attention
from aurora_cli.models.auroracap import AuroraCap
from aurora_cli.models.positions import rope_types

_LENGTH_DECIDES = {"dynamic", "longrope"}
"""Rotary positions whose frequencies depend on the longest row of a batch."""


class RowGroup(Protocol):
    """Rows that take their steps together."""

    @property
    def width(self) -> int:
        """Tokens of the longest row."""
        ...

    def join(self, embeds_BTC: Tensor, mask_BT: Tensor) -> Tensor:
        """Read prompts, padded in front: (B, C), the last hidden state of each."""
        ...

    def step(self, embeds_B1C: Tensor) -> Tensor:
        """Read one token of every row: (B, C)."""
        ...

    def keep(self, kept: Sequence[int]) -> None:
        """The other rows leave; these stay, in this order, in which gaps are filled from behind."""
        ...


def rows_may_join(config: Any) -> bool:
    """Whether rows of a language model can join others between two steps.

    They can where each layer's cache holds all keys, one beside the other, and one mask says which are seen. The caches
    of windows and chunks do not say where a row began: such rows are decoded with those that they came with.
    """
    attends = config._attn_implementation in ("sdpa", packed_attention.NAME)
    layers = DynamicCache(config=config).layers
    return attends and all(type(layer) is DynamicLayer for layer in layers) and not _LENGTH_DECIDES & rope_types(config)


class JoinedRows:
    """Rows that others may join."""

    def __init__(self, model: AuroraCap) -> None:
        self._model = model
        self._cache = JoinedCache(model.config.get_text_config().num_hidden_layers)
        language_model = model.model.language_model
        self._plain = PlainModel(language_model) if is_plain(language_model) else None

    @property
    def width(self) -> int:
        return self._cache.columns.width

    def join(self, embeds_BTC: Tensor, mask_BT: Tensor) -> Tensor:
        lengths = mask_BT.sum(dim=1).tolist()
        self._cache.begin_joining(*mask_BT.shape)
        read: list[int] = []
        try:
            if self._plain is not None:
                hidden_BC = self._plain.read(embeds_BTC[mask_BT.bool()], lengths, self._cache)
            else:
                positions_BT = positions_of_tokens(mask_BT)
                hidden_BC = _last_hidden(self._model, self._cache, embeds_BTC, mask_BT.long(), positions_BT)
            read = lengths
        finally:
            self._cache.end_joining(read)
        return hidden_BC

    def step(self, embeds_B1C: Tensor) -> Tensor:
        self._cache.begin_step()
        mask, device = self._cache.mask(), embeds_B1C.device
        positions_B = torch.tensor(self._cache.lengths, device=device) - 1
        if self._plain is not None:
            return self._plain.step(embeds_B1C[:, 0], self._cache, mask, positions_B)
        return _last_hidden(
            self._model, self._cache, embeds_B1C, None if mask is None else mask.to(device), positions_B[:, None]
        )

    def keep(self, kept: Sequence[int]) -> None:
        self._cache.keep(kept)


class WholeRows:
    """Rows that nobody joins, in the cache that transformers has for the model."""

    def __init__(self, model: AuroraCap) -> None:
        self._model = model
        self._cache = DynamicCache(config=model.config.get_text_config())
        self._mask_BT = torch.empty(0, 0, dtype=torch.bool)

    @property
    def width(self) -> int:
        return self._mask_BT.shape[1]

    def join(self, embeds_BTC: Tensor, mask_BT: Tensor) -> Tensor:
        if self.width:
            raise RuntimeError("rows join a group of a model whose rows stay with those that they came with")
        self._mask_BT = mask_BT
        return self._read(embeds_BTC)

    def step(self, embeds_B1C: Tensor) -> Tensor:
        self._mask_BT = torch.cat([self._mask_BT, self._mask_BT.new_ones(len(embeds_B1C), 1)], dim=1)
        return self._read(embeds_B1C)

    def keep(self, kept: Sequence[int]) -> None:
        rows = torch.tensor(kept, dtype=torch.long, device=self._mask_BT.device)
        self._mask_BT = self._mask_BT[rows]
        self._cache.batch_select_indices(rows)

    def _read(self, embeds_BTC: Tensor) -> Tensor:
        positions_BT = positions_of_tokens(self._mask_BT)[:, -embeds_BTC.shape[1] :]
        return _last_hidden(self._model, self._cache, embeds_BTC, self._mask_BT.long(), positions_BT)


def positions_of_tokens(mask_BT: Tensor) -> Tensor:
    """(B, T): 0 at each row's first token, and in its padding."""
    return (mask_BT.long().cumsum(dim=1) - 1).clamp(min=0)


def _last_hidden(
    model: AuroraCap, cache: Cache, embeds_BTC: Tensor, attention_mask: Tensor | None, positions_BT: Tensor
) -> Tensor:
    language_model: Any = model.model.language_model  # any AutoModel that takes embeddings: annotated as none
    output = language_model(
        inputs_embeds=embeds_BTC,
        attention_mask=attention_mask,
        position_ids=positions_BT,
        use_cache=True,
        **{_name_of_cache(type(language_model)): cache},
    )
    return output.last_hidden_state[:, -1]


@cache
def _name_of_cache(kind: type[Any]) -> str:
    """transformers 5.24 renamed it."""
    return "cache" if "cache" in inspect.signature(kind.forward).parameters else "past_key_values"
