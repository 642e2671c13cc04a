"""Layers that keep less for the backward pass than transformers' own: what they keep is what came in, and what else the
gradients need is computed anew, at the cost of a pass over memory.

Of a token, transformers' gated MLP keeps gate, its activation, up and their product, four times the inner width; here
activation and product are one function that keeps gate and up (as Liger-Kernel does, arXiv 2410.10989).
QuickGELU keeps one tensor instead of two, and a norm its input and a number a token instead of two or three tensors (in
bfloat16 transformers keeps two of them in float32). Weights and their names are the replaced layers' own.
"""

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 1.702
"""QuickGELU is x times the sigmoid of so many x."""

_GATED = {"LlamaMLP", "MistralMLP", "Qwen2MLP", "Qwen3MLP", "SmolLM3MLP"}
_NORMS = {"LlamaRMSNorm", "MistralRMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm", "SmolLM3RMSNorm"}
"""transformers' classes whose forward passes are those below."""


class LeanGatedMLP(nn.Module):
    """down(silu(gate(x)) * up(x))."""

    def forward(self, x: Tensor) -> Tensor:
        parts: Any = self
        return parts.down_proj(gated(parts.gate_proj(x), parts.up_proj(x)))


class LeanRMSNorm(nn.Module):
    """Root mean square normalization (arXiv 1910.07467), computed in float32."""

    weight: Tensor
    variance_epsilon: float

    def forward(self, hidden_states: Tensor) -> Tensor:
        return rms_norm(hidden_states, self.weight, self.variance_epsilon)


class LeanQuickGELU(nn.Module):
    """Sigmoid's approximation of GELU (Hendrycks and Gimpel, arXiv 1606.08415, section 2), which CLIP learned with."""

    def forward(self, input: Tensor) -> Tensor:
        return quick_gelu(input)


def use_lean_layers(model: nn.Module) -> None:
    """Make the layers of a model of transformers that are known here lean ones, in place."""
    for module in model.modules():
        kind = type(module)
        if not kind.__module__.startswith("transformers."):
            continue
        if kind.__name__ in _NORMS:
            module.__class__ = LeanRMSNorm
        elif kind.__name__ == "QuickGELUActivation":
            module.__class__ = LeanQuickGELU
        elif kind.__name__ in _GATED and type(module.act_fn).__name__ == "SiLUActivation":
            module.__class__ = LeanGatedMLP


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up, of any one shape."""
    return _apply(_Gated, gate, up) if _learns(gate, up) else _gated(gate, up)


def rms_norm(x: Tensor, weight_C: Tensor, epsilon: float) -> Tensor:
    """weight * x / sqrt(mean(x^2) + epsilon) over the last dimension of x; in float32, rounded to x's type before it is
    weighed, as transformers does it."""
    if _learns(x, weight_C):
        return _apply(_RMSNorm, x, weight_C, epsilon)
    if x.dtype is weight_C.dtype is torch.float32:
        return F.rms_norm(x, weight_C.shape, weight_C, epsilon)
    return _rms_norm(x, weight_C, epsilon)[0]


def quick_gelu(x: Tensor) -> Tensor:
    """x * sigmoid(1.702 x).

    >>> quick_gelu(torch.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.1542,  0.0000,  0.8458])
    """
    return _apply(_QuickGELU, x) if _learns(x) else _quick_gelu(x)


def _learns(*inputs: Tensor) -> bool:
    """A compiler finds by itself what it had better keep."""
    needs = torch.is_grad_enabled() and any(each.requires_grad for each in inputs)
    return needs and not torch.compiler.is_compiling()


def _apply(function: type[torch.autograd.Function], *inputs: Tensor | float) -> Tensor:
    return cast("Tensor", function.apply(*inputs))


def _gated(gate: Tensor, up: Tensor) -> Tensor:
    return F.silu(gate).mul_(up)


def _quick_gelu(x: Tensor) -> Tensor:
    return F.silu(SLOPE * x, inplace=True).mul_(1 / SLOPE)


def _rms_norm(x: Tensor, weight_C: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """The norm, and what each token was multiplied by."""
    in_float = x.float()
    inverse = torch.rsqrt(in_float.square().mean(dim=-1, keepdim=True) + epsilon)
    return weight_C * (in_float * inverse).to(x.dtype), inverse


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return _gated(gate, up)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor]:
        (gradient,) = grad_outputs
        gate, up = ctx.saved_tensors
        of_up = F.silu(gate).mul_(gradient)
        return torch.ops.aten.silu_backward(gradient * up, gate), of_up


class _QuickGELU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return _quick_gelu(x)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> Tensor:
        (gradient,) = grad_outputs
        (x,) = ctx.saved_tensors
        return torch.ops.aten.silu_backward(gradient, SLOPE * x)


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight_C: Tensor, epsilon: float) -> Tensor:
        output, inverse = _rms_norm(x, weight_C, epsilon)
        ctx.save_for_backward(x, weight_C, inverse)
        return output

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None]:
        (gradient,) = grad_outputs
        x, weight_C, inverse = ctx.saved_tensors
        normed = x.float() * inverse
        of_weight = gradient * normed.to(x.dtype)  # of each token
        # The normed token has a fixed length: what the gradient would change of it along itself is taken out.
        along = (of_weight @ weight_C.to(of_weight.dtype)).unsqueeze(-1).mul_(-1 / x.shape[-1])
        of_x = torch.addcmul(gradient * weight_C, normed, along).mul_(inverse)
        return of_x.to(x.dtype), of_weight.flatten(0, -2).sum(dim=0).to(weight_C.dtype), None
