import math

import pytest
import torch
from torch.nn import functional as F

from aurora_cli.models.layers import lm_head
from aurora_cli.models.layers.lm_head import LMHead, label_mask


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


@pytest.mark.parametrize("learns", ["weight", "hidden", "neither"])
def test_what_does_not_learn_gets_no_gradient(learns: str) -> None:
    head = LMHead(8, 50, bias=True).requires_grad_(learns == "weight")
    hidden, targets = torch.randn(7, 8, requires_grad=learns == "hidden"), torch.randint(0, 50, (7,))
    loss = head(hidden, targets)
    torch.testing.assert_close(
        loss, F.cross_entropy(F.linear(hidden, head.weight, head.bias), targets, reduction="sum")
    )
    assert loss.requires_grad == (learns != "neither")
    if loss.requires_grad:
        (3 * loss).backward()
    assert (head.weight.grad is not None) == (head.bias.grad is not None) == (learns == "weight")
    assert (hidden.grad is not None) == (learns == "hidden")


def test_a_validation_loss_takes_no_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    head, hidden, targets = LMHead(8, 50, bias=False), torch.randn(7, 8), torch.randint(0, 50, (7,))
    expected = head(hidden, targets).item()
    monkeypatch.setattr(torch, "zeros_like", None)
    with torch.no_grad():
        assert head(hidden, targets).item() == expected


def test_the_bias_learns_what_the_weights_of_a_channel_of_ones_do() -> None:
    head, hidden, targets = LMHead(8, 50, bias=True), torch.randn(7, 8), torch.randint(0, 50, (7,))
    hidden[:, 0] = 1.0
    (3 * head(hidden, targets)).backward()
    torch.testing.assert_close(head.bias.grad, head.weight.grad[:, 0])  # pyrefly: ignore[unsupported-operation]


def test_a_logit_learns_its_probability_and_the_target_what_it_lacks() -> None:
    head = LMHead(1, 2, bias=False)
    head.weight.data = torch.tensor([[0.0], [3.0]]).log1p()  # logits 0 and ln 4 of a hidden 1: probabilities 1/5, 4/5
    hidden = torch.ones(1, 1, requires_grad=True)
    (2 * head(hidden, torch.tensor([0]))).backward()
    torch.testing.assert_close(head.weight.grad, 2 * torch.tensor([[0.2 - 1.0], [0.8]]))
    torch.testing.assert_close(hidden.grad, 2 * torch.tensor([[0.8 * math.log(4)]]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast_it_is_the_loss_of_a_linear_layer_there(dtype: torch.dtype) -> None:
    head, targets = LMHead(16, 50, bias=False), torch.randint(0, 50, (23,))
    hidden = torch.randn(23, 16, requires_grad=True)
    with torch.autocast("cpu", dtype):
        at_once = F.cross_entropy(F.linear(hidden, head.weight).float(), targets, reduction="sum")
        loss = head(hidden, targets)
    torch.testing.assert_close(loss, at_once)
    expected = torch.autograd.grad(at_once, [hidden, head.weight])
    for ours, plain in zip(torch.autograd.grad(loss, [hidden, head.weight]), expected, strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours, plain, rtol=0.02, atol=0.02)


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
