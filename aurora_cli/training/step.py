"""One optimizer step, and one look at the held-out samples, on every rank alike.

The loss is the sum of the cross-entropies of all target tokens of the global batch, over their number: neither ranks
nor micro-batches show in it.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import torch

from aurora_cli.models.packed_rows import PackedRows
from aurora_cli.runs.lines import Rejection
from aurora_cli.training.engine.engine import Engine


class MicroBatch(Protocol):
    """What `data.collator.Batch` offers. Shapes: P packs, T positions, F frames, M media."""

    @property
    def input_ids(self) -> torch.Tensor: ...
    @property
    def position_ids(self) -> torch.Tensor: ...
    @property
    def segment_ids(self) -> torch.Tensor: ...
    @property
    def labels(self) -> torch.Tensor: ...
    @property
    def pixel_values(self) -> torch.Tensor | None: ...
    @property
    def media_lengths(self) -> torch.Tensor | None: ...
    @property
    def sample_ids(self) -> list[int]: ...
    @property
    def target_tokens(self) -> int: ...
    @property
    def text_tokens(self) -> int: ...
    @property
    def visual_tokens(self) -> int: ...
    @property
    def positions(self) -> int: ...
    @property
    def media_files(self) -> int: ...
    @property
    def rejected(self) -> list[Rejection]: ...


class Totals(NamedTuple):
    """A step's counts over all ranks."""

    taught: int
    samples: int
    text: int
    visual: int
    positions: int
    rejected: int
    media_files: int
    bad_media: int
    """Samples that are rejected for their media."""
    order: int
    """Digest of the samples, whichever rank had them."""

    @property
    def tokens(self) -> int:
        return self.text + self.visual


class StepResult(NamedTuple):
    """What an optimizer step came to, over all ranks."""

    totals: Totals
    loss: float
    gradient_norm: float
    """Before clipping."""
    stop: bool
    """Some rank was asked to stop."""


class ValidationResult(NamedTuple):
    """What the held-out samples came to, over all ranks."""

    loss: float
    totals: Totals
    rejected: list[Rejection]


def optimizer_step(
    engine: Engine, batches: Sequence[MicroBatch], always_encode: bool, stop_asked: Callable[[], bool]
) -> StepResult:
    """Learn from this rank's micro-batches of a step."""
    counts = engine.sum_over_ranks(_counts(batches).to(engine.device))
    denominator = counts[0].clamp(min=1.0) / engine.loss_scale
    loss = torch.zeros((), dtype=torch.float64, device=engine.device)
    norm: torch.Tensor | None = None
    for batch in batches:
        with engine.accelerator.accumulate(engine.model):
            output = engine.model(
                packed=packed_rows(batch, engine.device),
                num_items_in_batch=denominator.float(),
                always_encode=always_encode,
            )
            loss += output.loss.detach() / engine.loss_scale
            norm = engine.backward(output.loss)
    assert norm is not None, "the last micro-batch of a step ends the accumulation"
    stop = torch.tensor(float(stop_asked()), dtype=torch.float64, device=engine.device)
    ends = engine.sum_over_ranks(torch.stack([loss, stop]))
    *totals, whole_loss, any_stop, norm_value = torch.cat([counts, ends, norm[None]]).tolist()
    return StepResult(Totals(*map(int, totals)), whole_loss, norm_value, any_stop > 0)


@torch.no_grad()
def evaluate(
    engine: Engine, steps: Iterator[Sequence[MicroBatch]], always_encode: bool, alive: Callable[[], None]
) -> ValidationResult:
    """The loss of samples that are not learned from; `alive` is called before each micro-batch."""
    counts = torch.zeros(len(Totals._fields), dtype=torch.float64)
    loss = torch.zeros((), dtype=torch.float64, device=engine.device)
    rejected: list[Rejection] = []
    engine.model.eval()
    try:
        for batches in steps:
            counts += _counts(batches)
            for batch in batches:
                alive()
                rows = packed_rows(batch, engine.device)
                output = engine.model(packed=rows, num_items_in_batch=1.0, always_encode=always_encode)
                loss += output.loss
                rejected += batch.rejected
    finally:
        engine.model.train()
    *totals, whole_loss = engine.sum_over_ranks(torch.cat([counts.to(engine.device), loss[None]])).tolist()
    whole = Totals(*map(int, totals))
    if whole.rejected:
        rejected = engine.gather_lists(rejected)
    return ValidationResult(whole_loss / max(1, whole.taught), whole, rejected)


def packed_rows(batch: MicroBatch, device: torch.device) -> PackedRows:
    """What the network's forward takes of a batch, on `device`."""
    tensors: list[Any] = [getattr(batch, name) for name in PackedRows._fields]
    moved: list[Any] = [None if tensor is None else tensor.to(device, non_blocking=True) for tensor in tensors]
    return PackedRows(*moved)


def _counts(batches: Sequence[MicroBatch]) -> torch.Tensor:
    """In the order of `Totals`, in fp64: exact up to 2^53."""
    return torch.tensor(
        [
            sum(batch.target_tokens for batch in batches),
            sum(len(batch.sample_ids) for batch in batches),
            sum(batch.text_tokens for batch in batches),
            sum(batch.visual_tokens for batch in batches),
            sum(batch.positions for batch in batches),
            sum(len(batch.rejected) for batch in batches),
            sum(batch.media_files for batch in batches),
            sum(rejected.media is not None for batch in batches for rejected in batch.rejected),
            sum(_order_digest(sample) for batch in batches for sample in batch.sample_ids),
        ],
        dtype=torch.float64,
    )


def _order_digest(sample: int) -> int:
    """32 bits: a step's sum over its samples is exact in a float64, and is summed over ranks with the counts."""
    return int.from_bytes(hashlib.blake2b(sample.to_bytes(8, "little"), digest_size=4).digest(), "little")
