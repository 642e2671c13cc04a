"""The language model's head, with the loss in chunks, computed where a token is a target and nowhere else.

Logits of a row are its length times the vocabulary (4096 x 32000 in float32: 0.5 GB, and as much for their gradient),
and most of them, those of visual tokens and questions, have no target. Shapes: B rows, T tokens, N target tokens,
C channels, V words.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from aurora_cli.constants import IGNORE_INDEX
from aurora_cli.models.linear.few_rows import FewRowsLinear

CHUNK = 2048
"""Target tokens whose logits exist at a time; those of more are computed again in the backward pass."""


class TeacherStates(NamedTuple):
    """What the model itself says of the target tokens at another kept ratio."""

    states: Tensor
    """(K, C): its hidden states there, in reading order."""
    has_state: Tensor
    """(N,) bool: of every target, whether it is one of these K."""
    weight: float
    """Of the divergence, beside the cross-entropy."""
    temperature: float


class LMHead(FewRowsLinear):
    """A linear layer to the vocabulary; given `targets`, it returns the sum of their cross-entropies instead; with
    `teacher` also, as a second number, the sum of the divergences from what its states say.

    The loop is inside the module: where weights are sharded (ZeRO-3), every rank then calls it once, however many
    targets it has, and none waits for a gather that another does not make.
    """

    def forward(self, input: Tensor, targets: Tensor | None = None, teacher: TeacherStates | None = None) -> Tensor:
        if targets is None:
            return super().forward(input)
        if teacher is None:
            return _in_chunks(self._cross_entropy, input, targets)
        states = teacher.states.to(input.dtype)  # what leaves a network under autocast is in fp32
        states_NC = input.new_zeros(input.shape).masked_scatter(teacher.has_state[:, None], states)
        both = partial(self._both, temperature=teacher.temperature)
        return _in_chunks(both, input, targets, states_NC.detach(), teacher.has_state)

    def _cross_entropy(self, hidden_NC: Tensor, targets_N: Tensor) -> Tensor:
        logits_NV = F.linear(hidden_NC, self.weight, self.bias).float()
        return F.cross_entropy(logits_NV, targets_N, reduction="sum")

    def _both(
        self, hidden_NC: Tensor, targets_N: Tensor, states_NC: Tensor, has_state_N: Tensor, *, temperature: float
    ) -> Tensor:
        """(2,): the cross-entropy, and the divergence of those that have a state."""
        logits_NV = F.linear(hidden_NC, self.weight, self.bias).float()
        with torch.no_grad():
            teacher_NV = F.linear(states_NC, self.weight, self.bias).float()
        apart_N = divergence(logits_NV, teacher_NV, temperature).masked_fill(~has_state_N, 0.0)
        return torch.stack([F.cross_entropy(logits_NV, targets_N, reduction="sum"), apart_N.sum()])


def divergence(logits_NV: Tensor, teacher_NV: Tensor, temperature: float) -> Tensor:
    """(N,): KL(teacher || student) in nats, of both distributions softened, times the square of the temperature.

    >>> student, teacher = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.75, 0.25]]).log()
    >>> round(divergence(student, teacher, 1.0).item(), 4)  # 0.75 ln 1.5 + 0.25 ln 0.5
    0.1308
    """
    student_log_NV, teacher_log_NV = (
        F.log_softmax(logits_NV / temperature, -1),
        F.log_softmax(teacher_NV / temperature, -1),
    )
    return (teacher_log_NV.exp() * (teacher_log_NV - student_log_NV)).sum(-1) * temperature**2


def _in_chunks(loss: Callable[..., Tensor], *of_targets: Tensor) -> Tensor:
    """The sum of a loss over the targets, all of which it is not given at once."""
    if len(of_targets[0]) <= CHUNK:
        return loss(*of_targets)
    chunks = zip(*(each.split(CHUNK) for each in of_targets), strict=True)
    losses: list[Any] = [checkpoint(loss, *chunk, use_reentrant=False) for chunk in chunks]
    return torch.stack(losses).sum(0)


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
