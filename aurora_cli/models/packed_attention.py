"""Attention of packed rows: several samples in one row, none of which sees another.

Registered with transformers under the name `aurora_sdpa`. Called with `segments` it attends sample by sample, so that
the cost is the sum of the squares of the samples' lengths, not the square of the row's; without, it is plain sdpa.

Shapes: P rows (packs), T tokens of a row, H heads, D channels of a head.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "aurora_sdpa"


class Segment(NamedTuple):
    """The run of one sample's tokens in a row; padding is a run as well."""

    row: int
    start: int
    stop: int


def segments_of(segment_ids_PT: Tensor) -> list[Segment]:
    """The runs of equal ids, row by row.

    >>> segments_of(torch.tensor([[1, 1, 2, 0]]))
    [Segment(row=0, start=0, stop=2), Segment(row=0, start=2, stop=3), Segment(row=0, start=3, stop=4)]
    """
    ids_PT = segment_ids_PT.cpu()
    width = ids_PT.shape[1]
    segments: list[Segment] = []
    for row, changes in enumerate(ids_PT[:, 1:] != ids_PT[:, :-1]):
        bounds = [0, *(changes.nonzero()[:, 0] + 1).tolist(), width]
        segments += [Segment(row, start, stop) for start, stop in pairwise(bounds)]
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
    segments: list[Segment] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: the result is (P, T, H, D)."""
    if segments is None:
        return sdpa_attention_forward(module, query_PHTD, key_PHTD, value_PHTD, attention_mask, **kwargs)
    runs = [
        sdpa_attention_forward(
            module,
            query_PHTD[row : row + 1, :, start:stop],
            key_PHTD[row : row + 1, :, start:stop],
            value_PHTD[row : row + 1, :, start:stop],
            None,
            **kwargs,
        )[0]
        for row, start, stop in segments
    ]
    return torch.cat(runs, dim=1).view(query_PHTD.shape[0], query_PHTD.shape[2], *runs[0].shape[2:]), None


AttentionInterface.register(NAME, packed_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
