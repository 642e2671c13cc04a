"""A linear layer of few tokens, with the weights as the left factor or from a copy, is the layer that it was."""

import copy
import pickle

import pytest
import torch
from torch import nn

from aurora_cli.models.layers import few_rows
from aurora_cli.models.layers.few_rows import MOST_ROWS, read_few_rows_fast

SHAPES = [(1, 1, 16), (3, 1, 16), (MOST_ROWS, 1, 16), (MOST_ROWS + 1, 1, 16), (2, 5, 16), (1, 16), (16,), (0, 1, 16)]


@pytest.fixture(params=[False, True], ids=["turned", "linear"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both that a processor may prefer."""
    monkeypatch.setattr(few_rows, "LINEAR_READS_FAST", request.param)


@pytest.mark.usefixtures("way")
def test_a_product_by_hand():
    layer = nn.Linear(2, 3)
    layer.weight.data = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    layer.bias.data = torch.tensor([0.0, 0.0, 100.0])
    read_few_rows_fast(layer)
    with torch.inference_mode():
        assert layer(torch.tensor([[1.0, 10.0]])).tolist() == [[21.0, 43.0, 165.0]]
        assert layer(torch.tensor([[1.0, 10.0], [0.0, 1.0]])).tolist() == [[21.0, 43.0, 165.0], [2.0, 4.0, 106.0]]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("copies", [False, True])
def test_few_tokens_give_what_a_plain_layer_gives(
    shape: tuple[int, ...], bias: bool, dtype: torch.dtype, copies: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(few_rows, "COPIED_FROM", 0 if copies else 2**40)
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


@pytest.fixture
def copying(monkeypatch: pytest.MonkeyPatch) -> nn.Linear:
    """A layer that has copied its weights, which are all 1; its bias is 0."""
    monkeypatch.setattr(few_rows, "COPIED_FROM", 0)
    layer = nn.Linear(16, 8)
    nn.init.ones_(layer.weight)
    nn.init.zeros_(layer.bias)
    read_few_rows_fast(layer)
    with torch.no_grad():
        assert layer(torch.ones(3, 16)).eq(16).all()
    assert getattr(layer, "blocks", None) is not None
    return layer


def test_a_copy_follows_weights_that_are_written_to_or_replaced(copying: nn.Linear):
    with torch.no_grad():
        copying.weight.mul_(2)
        assert copying(torch.ones(3, 16)).eq(32).all()
        copying.weight = nn.Parameter(torch.full((8, 16), 3.0))
        assert copying(torch.ones(3, 16)).eq(48).all()


def test_a_copy_is_neither_saved_nor_in_the_way_of_copying_the_model(copying: nn.Linear):
    assert copying.state_dict().keys() == {"weight", "bias"}
    with torch.no_grad():
        assert copy.deepcopy(copying)(torch.ones(3, 16)).eq(16).all()
    assert pickle.loads(pickle.dumps(copying)).weight.eq(1).all()


def test_small_layers_are_not_copied_and_none_where_all_do_not_fit(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(few_rows, "COPIED_FROM", 400)
    sizes = (5, 10, 20)  # 100, 400 and 1,600 bytes
    model = nn.Sequential(*(nn.Linear(size, size, bias=False) for size in sizes))

    def copied(memory: int) -> list[bool]:
        monkeypatch.setattr(few_rows, "memory_bytes", lambda: memory)
        read_few_rows_fast(model)
        return [layer.copies for layer in model]  # pyrefly: ignore[bad-return]

    assert copied(8 * 2000) == [False, True, True]
    assert copied(8 * 2000 - 1) == [False, False, False]


def test_all_parts_share_the_memory_for_copies(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(few_rows, "COPIED_FROM", 0)
    parts = [nn.Linear(10, 10, bias=False), nn.Linear(10, 10, bias=False)]  # 400 bytes each
    for memory, copies in ((8 * 800, True), (8 * 800 - 1, False)):
        monkeypatch.setattr(few_rows, "memory_bytes", lambda memory=memory: memory)
        read_few_rows_fast(*parts)
        assert [getattr(each, "copies", None) for each in parts] == [copies, copies]
