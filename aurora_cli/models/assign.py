"""How values get into a network's weights: whole, or, where ranks share the weights, only a rank's own range of them.

Who reads a file (`checkpoints`) and who shards weights over ranks (`training`) need not know of each other.
"""

from collections.abc import Callable

from torch import Tensor

Values = Callable[[int, int], Tensor]
"""The values from the first index up to the second of a tensor laid out flat; only these need be read."""

Assign = Callable[[Tensor, Values], None]
"""Puts values into a parameter or buffer: all of them, or those that this process is to hold."""


def assign_whole(weight: Tensor, values: Values) -> None:
    weight.detach().copy_(values(0, weight.numel()).view_as(weight))


def values_of(whole: Tensor) -> Values:
    """Of a tensor that is in memory, or mapped from a file."""
    flat = whole.detach().reshape(-1)
    return lambda begin, end: flat[begin:end]
