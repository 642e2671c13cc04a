"""Attention of packed rows: several samples in one row, none of which sees another.

Registered with transformers under the name `aurora_sdpa`. Called with `segments` it attends sample by sample, so that
the cost is the sum of the squares of the samples' lengths, not the square of the row's; without, it is plain sdpa.
On a CUDA card that runs flash attention, one kernel takes all samples of all rows (torch.nn.attention.varlen);
elsewhere sdpa is called for each.

Shapes: P rows (packs), T tokens of a row, H heads, D channels of a head, N samples of all rows.
"""

import inspect
from functools import cache
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "aurora_sdpa"


class Segments(NamedTuple):
    """The samples of packed rows, and their padding."""

    lengths: list[list[int]]
    """Row by row."""
    bounds_N: Tensor
    """int32, on the rows' device: where each begins when the rows lie one behind the other, and the end of the last."""


def segments_of(segment_ids_PT: Tensor) -> Segments:
    """For each row its runs of equal ids: its samples one after the other, and its padding.

    >>> segments_of(torch.tensor([[1, 1, 2, 0], [1, 1, 1, 1]]))
    Segments(lengths=[[2, 1, 1], [4]], bounds_N=tensor([0, 2, 3, 4, 8], dtype=torch.int32))
    """
    ids_PT = segment_ids_PT.cpu()
    lengths: list[list[int]] = []
    for changes_T in ids_PT[:, 1:] != ids_PT[:, :-1]:
        bounds = [0, *(changes_T.nonzero()[:, 0] + 1).tolist(), ids_PT.shape[1]]
        lengths.append([stop - start for start, stop in pairwise(bounds)])
    ends = accumulate((length for row in lengths for length in row), initial=0)
    return Segments(lengths, torch.tensor(list(ends), dtype=torch.int32, device=segment_ids_PT.device))


def block_causal_mask(segment_ids_PT: Tensor) -> Tensor:
    """(P, 1, T, T) bool: a token sees itself and what is before it in its sample. What `segments` does, as one mask."""
    same_PTT = segment_ids_PT[:, :, None] == segment_ids_PT[:, None, :]
    return same_PTT.tril()[:, None]


def packed_attention(
    module: nn.Module,
    query_PHTD: Tensor,
    key_PHTD: Tensor,
    value_PHTD: Tensor,
    attention_mask: Tensor | None,
    segments: Segments | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """transformers' attention interface: the result is (P, T, H, D)."""
    if segments is None:
        return sdpa_attention_forward(module, query_PHTD, key_PHTD, value_PHTD, attention_mask, **kwargs)
    if _runs_flash(query_PHTD) and not kwargs.get("dropout"):
        return attend_at_once(query_PHTD, key_PHTD, value_PHTD, segments, kwargs.get("scaling")), None
    rows_PTHD: list[Tensor] = []
    for row, lengths in enumerate(segments.lengths):
        # Split, not sliced: the gradient of a split is one concatenation, that of every slice a row full of zeros.
        queries, keys, values = (x[row : row + 1].split(lengths, dim=2) for x in (query_PHTD, key_PHTD, value_PHTD))
        runs = [
            sdpa_attention_forward(module, query, key, value, None, **kwargs)[0]
            for query, key, value in zip(queries, keys, values, strict=True)
        ]
        rows_PTHD.append(torch.cat(runs, dim=1))
    return torch.cat(rows_PTHD), None


def attend_at_once(
    query_PHTD: Tensor, key_PHTD: Tensor, value_PHTD: Tensor, segments: Segments, scale: float | None
) -> Tensor:
    """Causal attention within every sample, by one kernel: (P, T, H, D)."""
    from torch.nn.attention.varlen import varlen_attn

    longest = max(length for row in segments.lengths for length in row)
    # Token by token, the rows one behind the other.
    query, key, value = (x.transpose(1, 2).flatten(0, 1) for x in (query_PHTD, key_PHTD, value_PHTD))
    attended: Any = varlen_attn(
        query,
        key,
        value,
        segments.bounds_N,
        segments.bounds_N,
        longest,
        longest,
        scale=scale,
        window_size=(-1, 0),  # everything before, nothing behind
        enable_gqa=key.shape[1] != query.shape[1],
    )
    return attended.unflatten(0, (len(query_PHTD), -1))


def _runs_flash(query_PHTD: Tensor) -> bool:
    fits = query_PHTD.dtype in (torch.float16, torch.bfloat16) and query_PHTD.shape[-1] in range(8, 257, 8)
    return query_PHTD.is_cuda and fits and _has_flash(query_PHTD.device)


@cache
def _has_flash(device: torch.device) -> bool:
    """Whether the card is of a generation with the kernel, and this torch has it in the form that is called above."""
    if torch.version.hip is not None or torch.cuda.get_device_capability(device) < (8, 0):
        return False
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:  # before torch 2.10
        return False
    return {"window_size", "enable_gqa", "scale"} <= inspect.signature(varlen_attn).parameters.keys()


AttentionInterface.register(NAME, packed_attention)
AttentionMaskInterface.register(NAME, sdpa_mask)
