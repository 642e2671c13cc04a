"""Linear layers whose frozen weights are kept in 4 or 8 bits (QLoRA: Dettmers et al., NeurIPS 2023), by bitsandbytes.

A block of values has the largest of them as its scale; each value is one of 16 (nf4) or 256 steps of a fixed map, times
the scale. The matrix is put together again for each product, forwards and backwards, and let go. What such a layer
computes with is `dequantized(weight)`, no longer the weight that it was made of.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from aurora_cli.errors import HostError

Bits = Literal["nf4", "int8"]
BLOCKS: dict[Bits, int] = {"nf4": 64, "int8": 256}
"""Values that share a scale."""
PER_BYTE: dict[Bits, int] = {"nf4": 2, "int8": 1}


class Packed(NamedTuple):
    """A matrix in few bits."""

    codes: Tensor
    """uint8."""
    scales: Tensor
    """fp32, one a block."""


Unpack = Callable[[Tensor, Tensor, tuple[int, ...], Bits], Tensor]
"""Codes, scales and shape -> fp32."""


def kept_bytes(values: int, bits: Bits) -> int:
    """
    >>> kept_bytes(128, "nf4"), kept_bytes(256, "int8")
    (72, 260)
    """
    return -(-values // PER_BYTE[bits]) + 4 * -(-values // BLOCKS[bits])


def pack(weight: Tensor, bits: Bits) -> Packed:
    """On a CPU: the same codes wherever the layer computes."""
    functional: Any = _functional()
    values = weight.detach().to("cpu", torch.float32).contiguous()
    if bits == "nf4":
        codes, state = functional.quantize_4bit(values, blocksize=BLOCKS[bits], quant_type="nf4")
    else:
        codes, state = functional.quantize_blockwise(values, blocksize=BLOCKS[bits])
    return Packed(codes.reshape(-1), state.absmax)


def unpack(codes: Tensor, scales: Tensor, shape: tuple[int, ...], bits: Bits) -> Tensor:
    functional: Any = _functional()
    if bits == "nf4":
        state = functional.QuantState(
            absmax=scales, shape=torch.Size(shape), blocksize=BLOCKS[bits], quant_type="nf4", dtype=torch.float32,
            code=functional.get_4bit_type("nf4", device=codes.device),
        )  # fmt: skip
        return functional.dequantize_4bit(codes.view(-1, 1), state, quant_type="nf4")
    code = functional.create_dynamic_map().to(codes.device)
    state = functional.QuantState(absmax=scales, code=code, blocksize=BLOCKS[bits], dtype=torch.float32)
    return functional.dequantize_blockwise(codes.view(shape), state)


def dequantized(weight: Tensor, bits: Bits) -> Tensor:
    """What a layer of this weight computes with, in fp32."""
    return unpack(*pack(weight, bits), tuple(weight.shape), bits)


class QuantizedLinear(nn.Linear):
    """A linear layer of a frozen matrix in few bits."""

    def __init__(self, of: nn.Linear, packed: Packed, bits: Bits, unpack: Unpack = unpack) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = of.in_features, of.out_features
        self.weight = nn.Parameter(packed.codes, requires_grad=False)
        self.register_buffer("scales", packed.scales, persistent=False)
        self.bias = of.bias
        self._bits: Bits = bits
        self._unpack = unpack

    def matrix(self) -> Tensor:
        scales: Any = self.scales
        return self._unpack(self.weight, scales, (self.out_features, self.in_features), self._bits)

    def forward(self, input: Tensor) -> Tensor:
        return _Product.apply(input, self)


class _Product(torch.autograd.Function):
    """Keeps neither the matrix nor the inputs: the gradient of a frozen layer needs none."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, layer: QuantizedLinear) -> Tensor:
        ctx.layer, ctx.dtype = layer, input.dtype
        return F.linear(input, layer.matrix().to(input.dtype), layer.bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyrefly: ignore[bad-override]
        return (gradient @ ctx.layer.matrix().to(gradient.dtype)).to(ctx.dtype), None


def quantize_layers(language_model: nn.Module, bits: Bits) -> None:
    """Put the linear layers of a frozen language model into few bits, one after the other, in place."""
    for parent in list(language_model.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Linear:
                if layer.weight.is_meta:  # for who only asks how much it takes
                    made = QuantizedLinear(layer, _sizes(layer.weight.numel(), bits), bits, _empty)
                else:
                    made = QuantizedLinear(layer, pack(layer.weight, bits), bits)
                setattr(parent, name, made)


def _sizes(values: int, bits: Bits) -> Packed:
    codes = torch.empty(-(-values // PER_BYTE[bits]), dtype=torch.uint8, device="meta")
    return Packed(codes, torch.empty(-(-values // BLOCKS[bits]), device="meta"))


def _empty(codes: Tensor, scales: Tensor, shape: tuple[int, ...], bits: Bits) -> Tensor:
    return torch.empty(shape)


def _functional() -> Any:
    """
    Raises:
        HostError: bitsandbytes is not installed.
    """
    try:
        import bitsandbytes.functional as functional
    except ImportError as error:
        raise HostError(
            "the run's base was quantized by bitsandbytes, which is not installed",
            hint="pip install 'aurora-cli[quantized]'",
        ) from error
    return functional
