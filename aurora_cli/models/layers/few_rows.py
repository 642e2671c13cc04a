"""Linear layers of a step of decoding on a CPU, which takes as long as reading their weights once.

`F.linear` hands the tokens to MKL as the left factor, and for a few of them it then reads the weights at a third to two
thirds of the speed that it reads them at as the left factor themselves. Large ones are read faster still by oneDNN,
from a copy that is laid out in its own blocks. GB/s of 8 tokens, AVX2, two threads, `F.linear`, left factor and copy: a
layer of 384 to 1,024 channels 7.7, 11 and 14, a head of 32,000 6.1, 12 and 18; of one token 12 and 16, 12 and 25.
Shapes: N tokens, I and O the layer's channels.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aurora_cli.io.machine import memory_bytes

MOST_ROWS = 32
"""From there on computing, not reading, takes the time."""

COPIED_FROM = 2 * 2**20
"""Bytes of a layer's weights. Smaller ones are read faster than oneDNN gets to work."""

COPY_AT_MOST = 1 / 8
"""Of the machine's memory: the copies of all layers."""

LINEAR_READS_FAST = torch.backends.cpu.get_cpu_capability() == "AVX512"
"""Whether `F.linear` reads a layer's weights for few tokens as fast as this processor can."""


@dataclass(frozen=True)
class _Blocks:
    """A layer's weights as oneDNN lays them out."""

    weight: Tensor
    of: tuple[int, int]
    """The weights that they were made of: where they lie, and how often they were written to."""

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        """Copied or pickled, a layer has none."""
        return type(None), ()


class FewRowsLinear(nn.Linear):
    """Few tokens take its own way through it."""

    copies = False
    """Whether the weights may be held a second time. They are copied when few tokens first come."""
    blocks: _Blocks | None = None

    def forward(self, input: Tensor) -> Tensor:
        return linear(self, input)


def linear(layer: FewRowsLinear, input: Tensor) -> Tensor:
    """The layer's output, without what calling a module adds."""
    rows = input.numel() // layer.in_features
    if not _takes_few(rows, layer.weight):
        return F.linear(input, layer.weight, layer.bias)
    if layer.copies:
        return torch.ops.mkldnn._linear_pointwise(input, _in_blocks(layer), layer.bias, "none", [], "")
    if LINEAR_READS_FAST:
        return F.linear(input, layer.weight, layer.bias)
    return _linear_of_few(input.reshape(rows, -1), layer.weight, layer.bias).view(*input.shape[:-1], -1)


def reader(layer: FewRowsLinear) -> Callable[[Tensor], Tensor]:
    """`linear` of a layer whose weights stay as they are; where any number of tokens takes the same way, what decides
    is looked at once."""
    if LINEAR_READS_FAST and not layer.copies:
        return partial(F.linear, weight=layer.weight, bias=layer.bias)
    return partial(linear, layer)


def read_few_rows_fast(*parts: nn.Module) -> None:
    """The plain linear layers of a model that is not trained become such layers, in place, and those that are may copy
    their weights, if the machine has the memory for all of them."""
    layers = [layer for part in parts for layer in part.modules()]
    for layer in layers:
        if type(layer) is nn.Linear:
            layer.__class__ = FewRowsLinear
    large = [layer for layer in layers if isinstance(layer, FewRowsLinear) and layer.weight.nbytes >= COPIED_FROM]
    fit = sum(layer.weight.nbytes for layer in large) <= COPY_AT_MOST * memory_bytes()
    for layer in large:
        layer.copies = fit and torch.backends.mkldnn.is_available()


def _takes_few(rows: int, weight: Tensor) -> bool:
    is_small = 0 < rows <= MOST_ROWS
    return is_small and weight.is_cpu and weight.dtype is torch.float32 and not torch.is_grad_enabled()


def _in_blocks(layer: FewRowsLinear) -> Tensor:
    """Anew where the weights are not those that were copied."""
    weight = layer.weight
    of = (weight.data_ptr(), 0 if weight.is_inference() else weight._version)
    if layer.blocks is None or layer.blocks.of != of:
        layer.blocks = _Blocks(torch.ops.mkldnn._reorder_linear_weight(weight, MOST_ROWS), of)
    return layer.blocks.weight


def _linear_of_few(input_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    """(N, O). A single token is taken twice: the product of a matrix and a vector reads at half the speed, too.

    Tokens lie one behind the other in memory, here and in the next layer: laid out otherwise they take the slow way.
    """
    rows = len(input_NI)
    tokens_NI = torch.cat((input_NI, input_NI)) if rows == 1 else input_NI.contiguous()
    output_NO = torch.mm(weight_OI, tokens_NI.t())[:, :rows].t().contiguous()
    return output_NO if bias_O is None else output_NO + bias_O
