"""The language model's head, with the loss in chunks, computed where a token is a target and nowhere else.

Logits of a row are its length times the vocabulary (4096 x 32000 in float32: 0.5 GB, and as much for their gradient),
and most of them, those of visual tokens and questions, have no target. Shapes: B rows, T tokens, N target tokens,
C channels, V words.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from aurora_cli.constants import IGNORE_INDEX

CHUNK = 2048
"""Target tokens whose logits exist at a time; those of more are computed again in the backward pass."""


MOST_ROWS = 32
"""Rows of a step whose logits are computed the other way round on a CPU."""


class LMHead(nn.Linear):
    """A linear layer to the vocabulary; given `targets`, it returns the sum of their cross-entropies instead.

    The loop is inside the module: where weights are sharded (ZeRO-3), every rank then calls it once, however many
    targets it has, and none waits for a gather that another does not make.
    """

    def forward(self, input: Tensor, targets: Tensor | None = None) -> Tensor:
        if targets is None:
            return self._logits_of_few(input) if _is_step(input) else F.linear(input, self.weight, self.bias)
        if len(targets) <= CHUNK:
            return self._cross_entropy(input, targets)
        chunks = zip(input.split(CHUNK), targets.split(CHUNK), strict=True)
        losses: list[Any] = [checkpoint(self._cross_entropy, *chunk, use_reentrant=False) for chunk in chunks]
        return torch.stack(losses).sum()

    def _logits_of_few(self, hidden_NC: Tensor) -> Tensor:
        """For the last tokens of rows that are decoded on a CPU. The weights are the left factor: MKL then reads 49 MB
        of them in half the time (8 tokens, AVX-512, one thread: 9.5 ms instead of 19)."""
        logits_NV = torch.mm(self.weight, hidden_NC.t()).t()
        return logits_NV if self.bias is None else logits_NV + self.bias

    def _cross_entropy(self, hidden_NC: Tensor, targets_N: Tensor) -> Tensor:
        logits_NV = F.linear(hidden_NC, self.weight, self.bias).float()
        return F.cross_entropy(logits_NV, targets_N, reduction="sum")


def _is_step(hidden: Tensor) -> bool:
    return hidden.ndim == 2 and 1 < len(hidden) <= MOST_ROWS and hidden.is_cpu and not torch.is_grad_enabled()


def label_mask(labels_BT: Tensor) -> tuple[Tensor, Tensor]:
    """(B, T) bool: the positions whose next token is a target; and those targets (N,), in reading order.

    >>> label_mask(torch.tensor([[7, -100, 3, 4]]))
    (tensor([[False,  True,  True, False]]), tensor([3, 4]))
    """
    following_BT = F.pad(labels_BT[:, 1:], (0, 1), value=IGNORE_INDEX)
    is_target_BT = following_BT != IGNORE_INDEX
    return is_target_BT, following_BT[is_target_BT]


def mean_loss(loss_sum: Tensor, targets_N: Tensor, num_items: float | Tensor | None) -> Tensor:
    """A sum over the targets, over `num_items`; none: over their number."""
    return loss_sum / (max(1, len(targets_N)) if num_items is None else num_items)
