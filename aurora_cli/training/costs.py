"""What a run will take, estimated before it starts: memory, arithmetic, disk. Pure numbers.

Memory of mixed-precision Adam: Rajbhandari et al. (ZeRO), SC 2020, section 3. FLOPs: two a weight and token forwards,
twice that backwards where weights are trained, once where only what comes before them is; attention counts beside.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from aurora_cli.config.section import FixedPrecision

MOMENTS = 8
"""Bytes of Adam's two a parameter."""

GATHERED, BUCKET = 10**9, 10**8
"""Weights that ZeRO-3 gathers at once at most, and gradients on their way to the others: our presets of DeepSpeed."""


@dataclass(frozen=True)
class PartSize:
    """Parameters of one part of the network."""

    name: str
    parameters: int
    trained: int
    saved: int = 0
    """Bytes that the weights take less than in fp32, for being quantized."""
    moments_8bit: int | None = None
    """Bytes of the moments, where they are kept in 8 bits."""

    @property
    def moments(self) -> int:
        """Bytes."""
        return MOMENTS * self.trained if self.moments_8bit is None else self.moments_8bit


@dataclass(frozen=True)
class LayerStack:
    """A stack of transformer layers."""

    number: int
    width: int
    between: int
    """Width of the MLP's inside."""
    matrices: int
    """Weights of one layer's matrices."""
    matrices_of_mlp: int = 2


@dataclass(frozen=True)
class Memory:
    """Bytes of a process, at most."""

    states: int
    """Weights, gradients, moments."""
    activations: int

    @property
    def total(self) -> int:
        return self.states + self.activations


def states(
    parts: Sequence[PartSize],
    stage: int,
    world: int,
    precision: FixedPrecision,
    *,
    offload: bool = False,
    offload_weights: bool = False,
) -> int:
    """Bytes of weights, gradients and moments on a process's device; `stage` 0 is no engine.

    Without an engine weights stay in fp32. ZeRO 1 shards moments and master weights, 2 gradients, 3 the weights too; 2
    and 3 sum gradients in fp32. With `offload` all that a step keeps is in main memory: the device has the weights that
    it computes with (under ZeRO-3 its share, unless `offload_weights`, and as many as may be gathered at once) and
    gradients on their way out.

    >>> seven = [PartSize("all", 7_000_000_000, 7_000_000_000)]
    >>> [round(states(seven, stage, 8, "bf16") / 1e9, 1) for stage in (0, 1, 2, 3)]
    [112.0, 38.5, 28.0, 15.8]
    >>> [round(states(seven, stage, 8, "bf16", offload=True, offload_weights=True) / 1e9, 1) for stage in (2, 3)]
    [14.2, 2.2]
    >>> states(seven, 3, 8, "bf16", offload=True) / 1e9  # 2 x 7 / 8, 2 x 1 gathered, 2 x 0.1 on their way
    3.95
    """
    weights = sum(part.parameters for part in parts)
    trained = sum(part.trained for part in parts)
    if stage == 0:
        return static(parts) + 4 * trained
    size = 4 if precision == "fp32" else 2
    if offload and stage >= 2:
        share = weights if stage == 2 else 0 if offload_weights else weights // world
        return size * (share + min(weights - share, GATHERED) + min(trained, BUCKET))
    master = (4 + MOMENTS) * trained // world  # in fp32 too, DeepSpeed keeps a flat copy
    gradients = 4 * trained // world if stage >= 2 else size * trained
    return size * weights // (world if stage == 3 else 1) + gradients + master


def static(parts: Sequence[PartSize]) -> int:
    """Bytes of weights and moments without an engine: what is there between two steps.

    >>> static([PartSize("frozen", 100, 0), PartSize("trained", 10, 10)])
    520
    """
    return sum(4 * part.parameters - part.saved + part.moments for part in parts)


def loading(parts: Sequence[PartSize], world: int, precision: FixedPrecision, *, shared: bool) -> int:
    """Bytes of a process's memory that weights take as they are loaded: whole and in fp32, or its share (`shared`).

    >>> seven = [PartSize("all", 7_000_000_000, 7_000_000_000)]
    >>> loading(seven, 8, "bf16", shared=False) / 1e9, loading(seven, 8, "bf16", shared=True) / 1e9
    (28.0, 1.75)
    """
    weights = sum(part.parameters for part in parts)
    if not shared:
        return 4 * weights
    return (4 if precision == "fp32" else 2) * weights // world


def forward_flops(layers: LayerStack, tokens_of_layers: Sequence[int], attended: float) -> float:
    """Of a stack on one frame or sample; `attended`: share of the square of the length that attention looks at."""
    return sum(
        2.0 * layers.matrices * tokens + 4.0 * attended * tokens * tokens * layers.width for tokens in tokens_of_layers
    )


def passes(*, trained: bool, trained_before: bool, recomputed: bool) -> int:
    """Forward passes that a part's work amounts to: itself, the backward one, and the second forward of recomputation.

    >>> passes(trained=True, trained_before=True, recomputed=True)
    4
    >>> passes(trained=False, trained_before=True, recomputed=False)
    2
    >>> passes(trained=False, trained_before=False, recomputed=True)
    1
    """
    backward = (1 if trained or trained_before else 0) + (1 if trained else 0)
    return 1 + backward + (1 if recomputed and backward else 0)
