"""A linear layer of few tokens, computed with the weights as the left factor, is the linear layer that it was."""

import copy

import pytest
import torch
from torch import nn

from aurora_cli.models.linear.few_rows import MOST_ROWS, read_few_rows_fast

SHAPES = [(1, 1, 16), (3, 1, 16), (MOST_ROWS, 1, 16), (MOST_ROWS + 1, 1, 16), (2, 5, 16), (1, 16), (16,), (0, 1, 16)]


def test_a_product_by_hand():
    layer = nn.Linear(2, 3)
    layer.weight.data = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    layer.bias.data = torch.tensor([0.0, 0.0, 100.0])
    read_few_rows_fast(layer)
    with torch.inference_mode():
        assert layer(torch.tensor([[1.0, 10.0]])).tolist() == [[21.0, 43.0, 165.0]]
        assert layer(torch.tensor([[1.0, 10.0], [0.0, 1.0]])).tolist() == [[21.0, 43.0, 165.0], [2.0, 4.0, 106.0]]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_few_tokens_give_what_a_plain_layer_gives(shape: tuple[int, ...], bias: bool, dtype: torch.dtype):
    plain = nn.Sequential(nn.Linear(16, 7, bias=bias)).to(dtype)
    fast = copy.deepcopy(plain)
    read_few_rows_fast(fast)
    tokens = torch.randn(shape, dtype=dtype)
    with torch.no_grad():
        torch.testing.assert_close(fast(tokens), plain(tokens))


def test_gradients_and_weights_are_those_of_the_plain_layer():
    plain = nn.Linear(16, 7)
    fast = copy.deepcopy(plain)
    read_few_rows_fast(fast)
    assert fast.state_dict().keys() == plain.state_dict().keys()
    for layer in (plain, fast):
        layer(torch.ones(3, 16)).sum().backward()
    assert torch.equal(fast.weight.grad, plain.weight.grad)  # pyrefly: ignore[bad-argument-type]


def test_a_layer_of_another_kind_stays_as_it_is():
    class Other(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return input * 0

    model = nn.Sequential(Other(4, 4), nn.Linear(4, 4), nn.LayerNorm(4))
    read_few_rows_fast(model)
    assert [type(each).__name__ for each in model] == ["Other", "FewRowsLinear", "LayerNorm"]
