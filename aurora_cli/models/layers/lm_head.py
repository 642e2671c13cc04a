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
from aurora_cli.models.layers.few_rows import FewRowsLinear

CHUNK = 1024
"""Target tokens whose logits exist at a time."""


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
            loss: Tensor = _CrossEntropy.apply(input, self.weight, self.bias, targets, torch.is_grad_enabled())
            return loss
        states = teacher.states.to(input.dtype)  # what leaves a network under autocast is in fp32
        states_NC = input.new_zeros(input.shape).masked_scatter(teacher.has_state[:, None], states)
        both = partial(self._both, temperature=teacher.temperature)
        return _in_chunks(both, input, targets, states_NC.detach(), teacher.has_state)

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


class _CrossEntropy(torch.autograd.Function):
    """The sum of the cross-entropies of the targets. Its gradients are those of softmax, so they are taken with the
    loss, from logits that are there: none are kept for the backward pass or computed a second time (as Liger-Kernel's
    fused linear cross-entropy does, arXiv 2410.10989)."""

    @staticmethod
    def forward(
        ctx: Any, hidden_NC: Tensor, weight_VC: Tensor, bias_V: Tensor | None, targets_N: Tensor, learns: bool
    ) -> Tensor:
        kind = hidden_NC.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden_NC.dtype
        gradients = [
            torch.zeros_like(each) if learns and needed and each is not None else None
            for each, needed in zip((hidden_NC, weight_VC, bias_V), ctx.needs_input_grad[:3], strict=True)
        ]
        with torch.autocast(kind, enabled=False):
            loss = _sum_in_chunks(hidden_NC.to(dtype), weight_VC.to(dtype), bias_V, targets_N, gradients)
        ctx.save_for_backward(*gradients)
        return loss

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (of_loss,) = grad_outputs
        return *(None if each is None else each * of_loss.to(each.dtype) for each in ctx.saved_tensors), None, None


def _sum_in_chunks(
    hidden_NC: Tensor, weight_VC: Tensor, bias_V: Tensor | None, targets_N: Tensor, gradients: list[Tensor | None]
) -> Tensor:
    """Fills in the gradients of the hidden states, the weights and the bias that there are."""
    of_hidden_NC, of_weight_VC, of_bias_V = gradients
    loss = torch.zeros((), device=hidden_NC.device)
    for start in range(0, len(targets_N), CHUNK):
        chunk = slice(start, start + CHUNK)
        bias_of_dtype_V = None if bias_V is None else bias_V.to(weight_VC.dtype)
        logits_NV = F.linear(hidden_NC[chunk], weight_VC, bias_of_dtype_V).float()
        of_targets_N1 = targets_N[chunk, None]
        top_N1, of_target_N1 = logits_NV.amax(dim=-1, keepdim=True), logits_NV.gather(1, of_targets_N1)
        # In place from here on: a second tensor of this size would be the most that a step holds.
        total_N1 = logits_NV.sub_(top_N1).exp_().sum(dim=-1, keepdim=True)
        loss = loss + (total_N1.log() + top_N1 - of_target_N1).sum()
        if all(each is None for each in gradients):
            continue
        # Of a logit: its probability, less 1 of the target's.
        minus_one_N1 = torch.full_like(of_target_N1, -1.0)
        wrong_NV = logits_NV.div_(total_N1).scatter_add_(1, of_targets_N1, minus_one_N1).to(weight_VC.dtype)
        if of_hidden_NC is not None:
            of_hidden_NC[chunk] = wrong_NV @ weight_VC
        if of_weight_VC is not None:
            _add_product(of_weight_VC, wrong_NV.t(), hidden_NC[chunk])
        if of_bias_V is not None:
            of_bias_V += wrong_NV.sum(dim=0)
    return loss


def _add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    if total.dtype == left.dtype:
        total.addmm_(left, right)
    else:
        total += left @ right


def _in_chunks(loss: Callable[..., Tensor], *of_targets: Tensor) -> Tensor:
    """The sum of a loss over the targets, all of which it is not given at once; the backward pass computes the logits
    anew."""
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
