"""CLIP's tower for a llama.cpp that puts the class token behind the patches: one more layer puts all in order.

llama.cpp (in llama-cpp-python 0.3.36; its pull request 25844 is open) appends the class token to the patches, and then
drops the first row instead of it: rows 1 to N go to the projector, and row 0, the first patch, is lost. No order of the
positions' table mends that. So a layer is put in front of the tower's own, in which row r attends to row r - 1 alone,
and row 0 to the last, the class token: behind it every row is where it was in training. It is exact but for rounding:

- The table of positions gets channels with each row's number in bits, and the number that it looks for. A product of
  the two that is large makes of softmax a choice of one row.
- What a row held itself stays in the sum, 2^20 times smaller than what it gets: below what a float32 keeps. The norm in
  front of the layers makes it small; the convolution cannot, whose weights llama.cpp makes halves of.
- The norm of the embeddings (`pre_layrnorm`) becomes that layer's second norm, and its MLP hands on what that gives:
  f(a) - f(-a) = a, for each of gelu, quick_gelu and silu.

More channels would change what layers take as mean and deviation. So what they add up has mean 0 over channels, the
mean itself goes in a pair of channels to the projector, and a constant pair stands for the epsilon of the norms.

Shapes: N patches, C channels of the tower, M more, H heads, D channels of one, K more.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from aurora_cli.checkpoints.lazy_tensors import LazyTensor, Tensors, in_memory

STAYS = 2.0**-20
"""How much smaller what a row held is beside what it gets."""
MEAN_SCALE = 2.0**-8
"""Of the mean in its channels: small, so that norms do not see it."""
EPSILON = 1e-20
"""Of the file's norms: none, beside the pair of channels that stands for it."""
_LARGE = 2.0**12
"""Of bits in the table, in front of that norm: all that it sees, so that it divides every row by the same."""
_CHOOSES = 512.0
"""Query times key of the row looked for, a bit; a wrong bit takes e^(2 * 512 / sqrt(D + K)) of its weight."""

Read = Callable[[str], Tensor]
"""Of a weight by its name in the file (`v.class_embd`, `v.blk.0.attn_q.weight`), as the tower has it."""


class Widths(NamedTuple):
    """How wide the tower is, and how wide it becomes."""

    patches: int
    channels: int
    heads: int
    epsilon: float
    """Of its own norms."""

    @property
    def bits(self) -> int:
        """Of a row's number."""
        return self.patches.bit_length()

    @property
    def more(self) -> int:
        """M: the bits of two numbers, each with its opposite, a pair for the mean, one for epsilon; of heads alike."""
        return math.ceil((4 * self.bits + 4) / self.heads) * self.heads

    @property
    def all(self) -> int:
        return self.channels + self.more

    @property
    def head(self) -> int:
        return self.channels // self.heads

    @property
    def wide_head(self) -> int:
        return self.all // self.heads

    @property
    def shrinks(self) -> float:
        """What a norm over all channels gives has to be multiplied by this, to be what it is over the tower's own."""
        return math.sqrt(self.channels / self.all)

    @property
    def bit_scale(self) -> float:
        """Of bits among the layers: they stand for the epsilon of the norm of the embeddings."""
        energy = self.epsilon * self.channels * STAYS**2 - self.all * EPSILON
        return math.sqrt(energy / (4 * self.bits))

    @property
    def mean_at(self) -> int:
        return self.channels + 4 * self.bits


def in_order(named: Tensors, widths: Widths) -> Tensors:
    """A file's weights of a tower with a class token, by their names in it, for llama.cpp's order of rows."""

    def read(name: str) -> Tensor:
        return named[name].read().float()

    first = {f"v.blk.0.{name}": values for name, values in first_layer(read, widths).items()}
    laid = in_memory({**embeddings(read, widths), **first}, named["v.class_embd"].file)
    for name, tensor in named.items():
        if name.startswith("v.blk."):
            _, _, layer, part = name.split(".", 3)
            laid[f"v.blk.{int(layer) + 1}.{part}"] = _changed(tensor, partial(layer_weight, part, widths=widths))
        elif name == "mm.0.weight":
            laid[name] = _changed(tensor, partial(projector_weight, widths=widths))
        elif name not in laid and not name.startswith("v.pre_ln."):
            laid[name] = tensor
    return laid


def _changed(tensor: LazyTensor, change: Callable[[Tensor], Tensor]) -> LazyTensor:
    shape = tuple(change(torch.empty(tensor.shape, device="meta")).shape)
    return tensor.cast(torch.float32).with_values(lambda: change(tensor.read().float()), shape)


def bits_of(rows: Tensor, count: int) -> Tensor:
    """(R, count) of -1 and 1.

    >>> bits_of(torch.tensor([0, 1, 2]), 2).tolist()
    [[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0]]
    """
    return ((rows[:, None] >> torch.arange(count)) & 1).float() * 2 - 1


def centred(values: Tensor, dim: int = 0) -> Tensor:
    return values - values.mean(dim, keepdim=True)


def embeddings(read: Read, widths: Widths) -> dict[str, Tensor]:
    """Patches, class token and positions, the rows' numbers beside them, and the norm that makes the sum small."""
    w = widths
    patches = centred(read("v.patch_embd.weight"))
    positions_NC = centred(read("v.position_embd.weight"), dim=1)
    row = torch.arange(w.patches + 1)
    own, wanted = bits_of(row, w.bits), bits_of((row - 1) % (w.patches + 1), w.bits)
    table = torch.zeros(w.patches + 1, w.all)
    table[:, : w.channels] = positions_NC.roll(-1, 0)  # the class token's is the last row's
    table[:, w.channels : w.mean_at] = torch.cat([own, -own, wanted, -wanted], dim=1) * _LARGE
    deviation = math.sqrt(4 * w.bits * _LARGE**2 / w.all + EPSILON)
    norm = torch.zeros(w.all)
    norm[: w.channels] = deviation * STAYS**2
    norm[w.channels : w.mean_at] = deviation * w.bit_scale / _LARGE
    return {
        "v.patch_embd.weight": torch.cat([patches, patches.new_zeros(w.more, *patches.shape[1:])]),
        "v.class_embd": torch.cat([centred(read("v.class_embd").flatten()), torch.zeros(w.more)]),
        "v.position_embd.weight": table,
        "v.pre_ln.weight": norm,
    }


def first_layer(read: Read, widths: Widths) -> dict[str, Tensor]:
    """The layer in front of the tower's own."""
    w = widths
    deviation = math.sqrt(4 * w.bits * w.bit_scale**2 / w.all + EPSILON)
    norm = torch.zeros(w.all)
    norm[: w.channels] = deviation / STAYS**2
    norm[w.channels : w.mean_at] = deviation / w.bit_scale
    query, key = torch.zeros(w.heads, w.wide_head, w.all), torch.zeros(w.heads, w.wide_head, w.all)
    for bit in range(w.bits):
        query[:, bit, w.channels + 2 * w.bits + bit] = _CHOOSES
        key[:, bit, w.channels + bit] = 1.0
    own = torch.zeros(w.all)
    own[: w.channels] = 1.0
    pre = read("v.pre_ln.weight"), read("v.pre_ln.bias")
    eye = torch.eye(w.channels)
    up = torch.zeros(2 * w.channels, w.all)
    up[:, : w.channels] = torch.cat([eye, -eye])
    bias = torch.zeros(w.all)
    at, height = w.mean_at + 2, math.sqrt(w.epsilon * w.channels / 2)
    bias[at], bias[at + 1] = height, -height
    return {
        "ln1.weight": norm,
        "attn_q.weight": query.flatten(0, 1),
        "attn_k.weight": key.flatten(0, 1),
        "attn_v.weight": own.diag(),
        "attn_out.weight": own.diag() * STAYS,
        "ln2.weight": _wide(pre[0] * w.shrinks, w),
        "ln2.bias": _wide(pre[1], w),
        "ffn_up.weight": up,
        "ffn_down.weight": _added(torch.cat([eye, -eye], dim=1), w),
        "ffn_down.bias": bias,
    }


def layer_weight(name: str, values: Tensor, widths: Widths) -> Tensor:
    """A weight of the tower's own layers, by its name in a layer (`attn_q.weight`)."""
    w = widths
    module, kind = name.split(".")
    if module in ("ln1", "ln2"):
        return _wide(values * w.shrinks if kind == "weight" else values, w)
    if module in ("attn_q", "attn_k", "attn_v"):
        if module == "attn_q":  # llama.cpp divides by the root of the wider head
            values = values * math.sqrt(w.wide_head / w.head)
        wide = _heads(values, w)
        return _wide(wide, w) if kind == "weight" else wide
    if module == "ffn_up":
        return _wide(values, w) if kind == "weight" else values
    if module == "attn_out" and kind == "weight":
        values = _heads(values.T, w).T
    return _added(values, w)


def projector_weight(values_XC: Tensor, widths: Widths) -> Tensor:
    """The first weight of the projector, which also reads the mean."""
    wide = _wide(values_XC, widths)
    mean_X = values_XC.sum(1) / (2 * MEAN_SCALE)
    wide[:, widths.mean_at], wide[:, widths.mean_at + 1] = mean_X, -mean_X
    return wide


def _wide(values: Tensor, widths: Widths) -> Tensor:
    """Nothing in the new channels of the last dimension."""
    return torch.cat([values, values.new_zeros(*values.shape[:-1], widths.more)], dim=-1)


def _heads(values: Tensor, widths: Widths) -> Tensor:
    """Nothing in the new channels of each head, in the first dimension."""
    per_head = values.unflatten(0, (widths.heads, widths.head))
    more = widths.wide_head - widths.head
    return torch.cat([per_head, values.new_zeros(widths.heads, more, *values.shape[1:])], dim=1).flatten(0, 1)


def _added(values: Tensor, widths: Widths) -> Tensor:
    """What a layer adds, from (C, ...): mean 0, and the mean in its pair of channels."""
    mean = values.mean(0, keepdim=True)
    pair = torch.cat([mean, -mean]) * MEAN_SCALE
    rest = values.new_zeros(widths.all - widths.mean_at - 2, *values.shape[1:])
    before = values.new_zeros(widths.mean_at - widths.channels, *values.shape[1:])
    return torch.cat([values - mean, before, pair, rest])
