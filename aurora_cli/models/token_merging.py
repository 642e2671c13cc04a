"""Token merging (ToMe): like tokens become one. Bolya et al., ICLR 2023, section 3.

`match_tokens` decides on indices, `merge_tokens` applies them. Between the two nothing is remembered, so a layer that
is computed a second time (activation checkpointing) merges what it merged the first time.

Shapes: B images, N tokens, C channels, H heads, D channels of a head. The tokens at even positions are half A (the
class token is its first), those at odd ones half B; R tokens of A go, each into a token of B.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Matching(NamedTuple):
    """Which tokens become one. Every token of A is either in `kept` or in `merged`."""

    kept: Tensor
    """(B, A - R) indices in A that stay, in their order."""

    merged: Tensor
    """(B, R) indices in A that go, the most alike first."""

    target: Tensor
    """(B, R) index in B that each of them goes into."""


@torch.no_grad()
def match_tokens(metric_BND: Tensor, removed: int, class_token: bool = True) -> Matching:
    """Pair each token of A with the token of B that its metric is most like (cosine); the `removed` best pairs merge.

    Likeness is taken in float32 whatever the model computes in, and as cosine - 1 = -|u - v|^2 / 2, seen from the
    middle of B: patches of a plain surface have cosines of 0.999 and more, where float32's steps (6e-8) would decide.
    """
    with torch.autocast(metric_BND.device.type, enabled=False):
        unit_BND = F.normalize(metric_BND.float(), dim=-1)
        seen_BND = unit_BND - unit_BND[:, 1::2].mean(dim=1, keepdim=True)
        half_square_BN = seen_BND.square().sum(dim=-1) / 2
        likeness_BAB = torch.baddbmm(
            -half_square_BN[:, None, 1::2], seen_BND[:, ::2], seen_BND[:, 1::2].transpose(1, 2)
        )
        best_BA, target_BA = likeness_BAB.max(dim=-1)
        best_BA = best_BA - half_square_BN[:, ::2]
    if class_token:
        best_BA[:, 0] = -torch.inf
    # Stable, so that equal pairs (a blank image is all alike) merge in the same order on every machine.
    order_BA = best_BA.argsort(dim=-1, descending=True, stable=True)
    merged = order_BA[:, :removed]
    return Matching(order_BA[:, removed:].sort(dim=-1).values, merged, target_BA.gather(1, merged))


def merge_tokens(tokens_BNC: Tensor, size_BN: Tensor | None, matching: Matching) -> tuple[Tensor, Tensor]:
    """Apply a matching: the mean of the tokens that become one, weighted by how many patches each stands for.

    `size_BN` is float32, none where nothing has been merged yet. What remains of A comes first, then B.
    """
    if size_BN is None:
        size_BN = torch.ones(tokens_BNC.shape[:2], dtype=torch.float32, device=tokens_BNC.device)
    size_A, size_B = size_BN[:, ::2], size_BN[:, 1::2]
    moved_BR = size_A.gather(1, matching.merged)

    # One product instead of a scatter-add: its sum has a fixed order on every device, and so has its gradient.
    with torch.autocast(tokens_BNC.device.type, enabled=False):
        into_BBR = (matching.target[:, None, :] == torch.arange(size_B.shape[1], device=size_B.device)[:, None]).float()
        merged_size_B = size_B + (into_BBR @ moved_BR[..., None])[..., 0]
        tokens_A, tokens_B = tokens_BNC[:, ::2], tokens_BNC[:, 1::2]
        moved_BRC = _rows(tokens_A, matching.merged).float()
        sum_BBC = torch.baddbmm(tokens_B.float() * size_B[..., None], into_BBR * moved_BR[:, None, :], moved_BRC)
        mean_BBC = (sum_BBC / merged_size_B[..., None]).to(tokens_BNC.dtype)

    merged_BNC = torch.cat([_rows(tokens_A, matching.kept), mean_BBC], dim=1)
    return merged_BNC, torch.cat([size_A.gather(1, matching.kept), merged_size_B], dim=1)


def slots_of(matching: Matching, num_tokens: int) -> Tensor:
    """(B, N): the index after merging of every token before it."""
    kept, merged, target = matching
    slots_BN = torch.empty(kept.shape[0], num_tokens, dtype=torch.long, device=kept.device)
    slots_BN[:, 1::2] = kept.shape[1] + torch.arange(num_tokens // 2, device=kept.device)
    slots_A = slots_BN[:, ::2]
    slots_A.scatter_(1, kept, torch.arange(kept.shape[1], device=kept.device).expand_as(kept))
    slots_A.scatter_(1, merged, kept.shape[1] + target)
    return slots_BN


def trace_tokens(matchings: Sequence[Matching | None], num_tokens: int) -> Tensor:
    """(B, N): the index behind the last layer of every token before the first; (1, N) where no layer merges."""
    slots_BN, tokens = torch.arange(num_tokens)[None], num_tokens
    for matching in matchings:
        if matching is None:
            continue
        layer_BN = slots_of(matching, tokens)
        slots_BN = layer_BN.gather(1, slots_BN.to(layer_BN.device).expand(layer_BN.shape[0], -1))
        tokens -= matching.merged.shape[1]
    return slots_BN


def log_size_bias(size_BN: Tensor, dtype: torch.dtype) -> Tensor:
    """(B, 1, 1, N): what proportional attention adds to the logits of each key."""
    return size_BN.log().to(dtype)[:, None, None, :]


def _rows(tokens_BNC: Tensor, index_BK: Tensor) -> Tensor:
    return tokens_BNC.gather(1, index_BK[..., None].expand(-1, -1, tokens_BNC.shape[-1]))
