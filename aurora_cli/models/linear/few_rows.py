"""Linear layers of a step of decoding on a CPU, which takes as long as reading their weights once.

`F.linear` hands the tokens to MKL as the left factor, and for a few of them it then reads the weights at a third to two
thirds of the speed that it reads them at as the left factor themselves (8 tokens, AVX2, two threads: 7.7 and 12.5 GB/s
of a layer of 384 to 1,024 channels, 6.1 and 13.6 of a head of 32,000). Shapes: N tokens, I and O the layer's channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MOST_ROWS = 32
"""From there on computing, not reading, takes the time."""


class FewRowsLinear(nn.Linear):
    """Where few tokens come, the weights are the left factor."""

    def forward(self, input: Tensor) -> Tensor:
        rows = input.numel() // self.in_features
        if not _takes_few(rows, self.weight):
            return F.linear(input, self.weight, self.bias)
        return _linear_of_few(input.reshape(rows, -1), self.weight, self.bias).view(*input.shape[:-1], -1)


def read_few_rows_fast(language_model: nn.Module) -> None:
    """Its plain linear layers become such layers, in place; their weights stay where they are."""
    for layer in language_model.modules():
        if type(layer) is nn.Linear:
            layer.__class__ = FewRowsLinear


def _takes_few(rows: int, weight: Tensor) -> bool:
    is_small = 0 < rows <= MOST_ROWS
    return is_small and weight.is_cpu and weight.dtype is torch.float32 and not torch.is_grad_enabled()


def _linear_of_few(input_NI: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> Tensor:
    """(N, O). A single token is taken twice: the product of a matrix and a vector reads at half the speed, too.

    Tokens lie one behind the other in memory, here and in the next layer: laid out otherwise they take the slow way.
    """
    rows = len(input_NI)
    tokens_NI = torch.cat((input_NI, input_NI)) if rows == 1 else input_NI.contiguous()
    output_NO = torch.mm(weight_OI, tokens_NI.t())[:, :rows].t().contiguous()
    return output_NO if bias_O is None else output_NO + bias_O
