import pytest
import torch
from torch.nn import functional as F

from aurora_cli.models import lm_head
from aurora_cli.models.lm_head import LMHead, label_mask


def test_a_position_counts_when_its_next_token_is_a_target():
    is_target, targets = label_mask(torch.tensor([[7, -100, 3, 4], [-100, -100, -100, 9]]))
    assert is_target.int().tolist() == [[0, 1, 1, 0], [0, 0, 1, 0]]
    assert targets.tolist() == [3, 4, 9]


def test_the_loss_in_chunks_is_the_loss_at_once(monkeypatch):
    head = LMHead(8, 50, bias=False)
    hidden = torch.randn(23, 8, requires_grad=True)
    targets = torch.randint(0, 50, (23,))
    at_once = F.cross_entropy(F.linear(hidden, head.weight), targets, reduction="sum")
    expected = torch.autograd.grad(at_once, [hidden, head.weight])
    for chunk in (5, 23, 100):
        monkeypatch.setattr(lm_head, "CHUNK", chunk)
        loss = head(hidden, targets)
        torch.testing.assert_close(loss, at_once)
        torch.testing.assert_close(torch.autograd.grad(loss, [hidden, head.weight]), expected)


def test_no_target_is_a_loss_of_zero_with_a_gradient_of_zero():
    head = LMHead(8, 50, bias=False)
    hidden = torch.randn(0, 8, requires_grad=True)
    loss = head(hidden, torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss.item() == 0.0
    assert head.weight.grad is not None
    assert torch.equal(head.weight.grad, torch.zeros_like(head.weight))


def test_without_targets_it_is_a_linear_layer():
    head = LMHead(8, 50, bias=False)
    hidden = torch.randn(2, 3, 8)
    assert torch.equal(head(hidden), F.linear(hidden, head.weight))


@pytest.mark.parametrize("rows", [1, 2, 32, 33])
def test_logits_of_few_rows_are_those_of_a_linear_layer(rows: int) -> None:
    head = LMHead(16, 50, bias=rows % 2 == 0)
    hidden = torch.randn(rows, 16)
    with torch.no_grad():
        torch.testing.assert_close(head(hidden), torch.nn.functional.linear(hidden, head.weight, head.bias))
