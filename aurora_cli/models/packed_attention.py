"""Attention of packed rows: several samples in one row, none of which sees another.

Registered with transformers under the name `aurora_sdpa`. Called with `segments` it attends sample by sample, so that
the cost is the sum of the squares of the samples' lengths, not the square of the row's; without, it is plain sdpa.

Shapes: P rows (packs), T tokens of a row, H heads, D channels of a head.
"""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "aurora_sdpa"


def segments_of(segment_ids_PT: Tensor) -> list[list[int]]:
    """For each row the lengths of its runs of equal ids: its samples one after the other, and its padding.

    >>> segments_of(torch.tensor([[1, 1, 2, 0], [1, 1, 1, 1]]))
    [[2, 1, 1], [4]]
    """
    ids_PT = segment_ids_PT.cpu()
    segments: list[list[int]] = []
    for changes_T in ids_PT[:, 1:] != ids_PT[:, :-1]:
        bounds = [0, *(changes_T.nonzero()[:, 0] + 1).tolist(), ids_PT.shape[1]]
        segments.append([stop - start for start, stop in pairwise(bounds)])
    return segments


def block_causal_mask(segment_ids_PT: Tensor) -> Tensor:
    """(P, 1, T, T) bool: a token sees itself and what is before it in its sample. What `segments` does, written out."""
    same_PTT = segment_ids_PT[:, :, None] == segment_ids_PT[:, None, :]
    return same_PTT.tril()[:, None]


def packed_attention(
    module: nn.Module,
    query_PHTD: Tensor,
    key_PHTD: Tensor,
    value_PHTD: Tensor,
    attention_mask: Tensor | None,
    segments: list[list[int]] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: the result is (P, T, H, D)."""
    if segments is None:
        return sdpa_attention_forward(module, query_PHTD, key_PHTD, value_PHTD, attention_mask, **kwargs)
    rows_PTHD: list[Tensor] = []
    for row, lengths in enumerate(segments):
        # Split, not sliced: the gradient of a split is one concatenation, that of every slice a row full of zeros.
        queries, keys, values = (x[row : row + 1].split(lengths, dim=2) for x in (query_PHTD, key_PHTD, value_PHTD))
        runs = [
            sdpa_attention_forward(module, query, key, value, None, **kwargs)[0]
            for query, key, value in zip(queries, keys, values, strict=True)
        ]
        rows_PTHD.append(torch.cat(runs, dim=1))
    return torch.cat(rows_PTHD), None


AttentionInterface.register(NAME, packed_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
