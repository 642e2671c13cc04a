"""FLOPs that the benchmark beside other tools counts, worked by hand."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).parents[3]


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> FlopCounterMode:
    monkeypatch.syspath_prepend(ROOT / "tests" / "benchmarks")
    from peers.flops import UNCOUNTED

    return FlopCounterMode(display=False, custom_mapping=UNCOUNTED)


def test_a_product_that_is_added_in_place(counter: FlopCounterMode) -> None:
    total = torch.zeros(8, 32)
    with counter:
        total.addmm_(torch.randn(8, 16), torch.randn(16, 32))
    assert counter.get_total_flops() == 2 * 8 * 16 * 32


@pytest.mark.parametrize(("causal", "seen"), [(False, 64 * 64), (True, 64 * 64 // 2)])
def test_attention_on_a_cpu(counter: FlopCounterMode, causal: bool, seen: int) -> None:
    x: Tensor = torch.randn(1, 4, 64, 16, requires_grad=True)
    with counter:
        attended = F.scaled_dot_product_attention(x, x, x, is_causal=causal)
    assert counter.get_total_flops() == 2 * (2 * 4 * seen * 16)  # of queries by keys, and of weights by values
    with counter:
        attended.sum().backward()
    # Backward there are five: the kernel computes the weights anew.
    assert counter.get_total_flops() == 5 * (2 * 4 * seen * 16)
