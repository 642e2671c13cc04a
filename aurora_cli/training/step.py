"""One optimizer step, and one pass over the validation samples, on every rank alike.

The loss is the sum of the cross-entropies of all target tokens of the global batch, over their number: neither ranks
nor micro-batches show in it.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch

from aurora_cli.config.merging import TokenMerging
from aurora_cli.models.layers.lm_head import TeacherStates
from aurora_cli.models.packed_rows import PackedRows
from aurora_cli.runs.lines import Rejection
from aurora_cli.training.engine.engine import Engine


class StepTeacher(Protocol):
    """What `data.batches.collator.TeacherRows` offers."""

    @property
    def batch(self) -> "MicroBatch": ...
    @property
    def has_teacher(self) -> torch.Tensor: ...
    @property
    def has_frames(self) -> torch.Tensor | None: ...


class MicroBatch(Protocol):
    """What `data.batches.collator.Batch` offers. Shapes: P packs, T positions, F frames, M media."""

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
    @property
    def features(self) -> torch.Tensor | None: ...
    @property
    def is_cached(self) -> torch.Tensor | None: ...
    @property
    def media_keys(self) -> list[bytes | None] | None: ...
    @property
    def merging(self) -> TokenMerging | None:
        """Of its frames, alike in all micro-batches of a step; none: the network's own."""
        ...

    @property
    def teacher(self) -> StepTeacher | None:
        """Its samples at a larger kept ratio, there in all micro-batches of a step or in none."""
        ...


class Distillation(NamedTuple):
    """How much a step learns from what the network itself says at a larger kept ratio."""

    weight: float
    temperature: float


NO_DISTILLATION = Distillation(0.0, 1.0)


OnEncoded = Callable[[MicroBatch, torch.Tensor | None], None]
"""Takes a micro-batch that went through the network, and what the tower gave for its frames that are not cached."""


class Totals(NamedTuple):
    """Counts of a step's samples."""

    target: int = 0
    """Tokens that the loss is the mean of."""
    samples: int = 0
    text: int = 0
    visual: int = 0
    positions: int = 0
    """Padding included."""
    rejected: int = 0
    media_files: int = 0
    unreadable: int = 0
    """Samples that are rejected for their media."""
    order: int = 0
    """Digest of the samples, whichever rank had them."""

    @property
    def tokens(self) -> int:
        return self.text + self.visual


TARGET = Totals._fields.index("target")


class StepResult(NamedTuple):
    """What an optimizer step came to, over all ranks."""

    totals: Totals
    loss: float
    """Of the targets alone."""
    divergence: float | None
    """From what is said at the larger kept ratio, a target's mean; none: nothing was learned from there."""
    grad_norm: float
    """Before clipping."""
    stop: bool
    """Some rank is to stop."""


class ValidationResult(NamedTuple):
    """What the validation samples came to, over all ranks."""

    loss: float
    """In a mixture of kept ratios, the mean of the losses at each, by their shares."""
    totals: Totals
    """In a mixture, at the smallest ratio, which all samples fit into a pack at."""
    rejected: list[Rejection]
    loss_by_ratio: dict[float, float]
    """In a mixture: at each ratio, ascending."""


def optimizer_step(
    engine: Engine,
    batches: Sequence[MicroBatch],
    always_encode: bool,
    stop_requested: Callable[[], bool],
    on_encoded: OnEncoded,
    distillation: Distillation = NO_DISTILLATION,
) -> StepResult:
    """Learn from this rank's micro-batches of a step; where they have a `teacher`, from that, too."""
    counts = engine.sum_over_ranks(_as_tensor(totals_of(batches)).to(engine.device))
    denominator = counts[TARGET].clamp(min=1.0) / engine.loss_scale
    loss = torch.zeros((), dtype=torch.float64, device=engine.device)
    apart = torch.zeros_like(loss)
    norm: torch.Tensor | None = None
    for batch in batches:
        with engine.accelerator.accumulate(engine.model):
            packed = packed_rows(batch, engine.device)
            more = {}
            if batch.teacher is not None:
                more = {"teacher": _teacher_states(engine, batch.teacher, packed, always_encode, distillation)}
            output = engine.model(
                packed=packed,
                merging=batch.merging,
                num_items_in_batch=denominator.float(),
                always_encode=always_encode,
                **more,
            )
            loss += output.loss.detach() / engine.loss_scale
            if batch.teacher is not None:
                apart += output.divergence.detach() / engine.loss_scale
            _hand_on(batch, output, on_encoded)
            norm = engine.backward(output.loss)
    assert norm is not None, "the last micro-batch of a step ends the accumulation"
    stop = torch.tensor(float(stop_requested()), dtype=torch.float64, device=engine.device)
    loss, apart, stop = engine.sum_over_ranks(torch.stack([loss - distillation.weight * apart, apart, stop]))
    # One transfer from the device for all numbers of the step.
    numbers = torch.cat([counts, torch.stack([loss, apart, stop, norm])]).tolist()
    *totals, loss_value, divergence, stop_value, norm_value = numbers
    has_teacher = batches[0].teacher is not None
    return StepResult(
        Totals(*map(int, totals)), loss_value, divergence if has_teacher else None, norm_value, stop_value > 0
    )


@torch.no_grad()
def _teacher_states(
    engine: Engine, teacher: StepTeacher, packed: PackedRows, always_encode: bool, distillation: Distillation
) -> TeacherStates:
    """What the network says at the teacher's ratio, as it would outside of training: without dropout."""
    pixel_values = packed.pixel_values
    if pixel_values is not None and teacher.has_frames is not None:
        left = pixel_values[teacher.has_frames.to(engine.device)]
        pixel_values = left if len(left) else None
    rows = packed_rows(teacher.batch, engine.device)._replace(pixel_values=pixel_values)
    engine.model.eval()
    try:
        states = engine.model(packed=rows, merging=teacher.batch.merging, always_encode=always_encode, states_only=True)
    finally:
        engine.model.train()
    return TeacherStates(states, teacher.has_teacher.to(engine.device), *distillation)


@torch.no_grad()
def evaluate(
    engine: Engine,
    steps: Iterator[Sequence[MicroBatch]],
    always_encode: bool,
    on_batch: Callable[[], None],
    on_encoded: OnEncoded,
    ratio_shares: Mapping[float, float],
) -> ValidationResult:
    """The loss of samples that are not learned from; `on_batch` is called before each micro-batch. `ratio_shares`: of
    the kept ratios of a mixture, ascending; none of a single one."""
    ratios: list[float | None] = [*ratio_shares] or [None]
    counts = [_as_tensor(Totals()) for _ in ratios]
    losses = [torch.zeros((), dtype=torch.float64, device=engine.device) for _ in ratios]
    rejected: list[Rejection] = []
    engine.model.eval()
    try:
        for batches in steps:
            merging = batches[0].merging
            which = 0 if merging is None else ratios.index(merging.kept_ratio)
            counts[which] += _as_tensor(totals_of(batches))
            for batch in batches:
                on_batch()
                rows = packed_rows(batch, engine.device)
                output = engine.model(packed=rows, merging=merging, num_items_in_batch=1.0, always_encode=always_encode)
                losses[which] += output.loss
                _hand_on(batch, output, on_encoded)
                if which == 0:  # at other ratios they are the same again
                    rejected += batch.rejected
    finally:
        engine.model.train()
    counted = torch.cat([torch.stack(counts).to(engine.device), torch.stack(losses)[:, None]], dim=1)
    summed = engine.sum_over_ranks(counted).tolist()
    totals = Totals(*map(int, summed[0][:-1]))
    if totals.rejected:
        rejected = engine.gather_lists(rejected)
    # A ratio that none of the samples fits into a pack at has no loss.
    by_ratio = {
        ratio: loss / of_ratio[TARGET]
        for ratio, (*of_ratio, loss) in zip(ratio_shares, summed, strict=False)
        if of_ratio[TARGET]
    }
    if not by_ratio:
        return ValidationResult(summed[0][-1] / max(1, totals.target), totals, rejected, {})
    weight = sum(ratio_shares[ratio] for ratio in by_ratio)
    mean = sum(ratio_shares[ratio] * loss for ratio, loss in by_ratio.items()) / weight
    return ValidationResult(mean, totals, rejected, by_ratio)


def _hand_on(batch: MicroBatch, output: Any, on_encoded: OnEncoded) -> None:
    """Only where features are kept; the network then says what the tower gave."""
    if batch.is_cached is not None:
        on_encoded(batch, output.encoded)


def packed_rows(batch: MicroBatch, device: torch.device) -> PackedRows:
    """What the network's forward takes of a batch, on `device`."""
    tensors: list[Any] = [getattr(batch, name) for name in PackedRows._fields]
    moved: list[Any] = [None if tensor is None else tensor.to(device, non_blocking=True) for tensor in tensors]
    return PackedRows(*moved)


def totals_of(batches: Sequence[MicroBatch]) -> Totals:
    """The counts of one rank's micro-batches."""
    rejected = [one for batch in batches for one in batch.rejected]
    return Totals(
        target=sum(batch.target_tokens for batch in batches),
        samples=sum(len(batch.sample_ids) for batch in batches),
        text=sum(batch.text_tokens for batch in batches),
        visual=sum(batch.visual_tokens for batch in batches),
        positions=sum(batch.positions for batch in batches),
        rejected=len(rejected),
        media_files=sum(batch.media_files for batch in batches),
        unreadable=sum(one.media is not None for one in rejected),
        order=sum(_order_digest(sample) for batch in batches for sample in batch.sample_ids),
    )


def _as_tensor(totals: Totals) -> torch.Tensor:
    """In fp64, in which counts are exact up to 2^53."""
    return torch.tensor(totals, dtype=torch.float64)


def _order_digest(sample: int) -> int:
    """32 bits: a step's sum over its samples is exact in a float64, and is summed over ranks with the counts."""
    return int.from_bytes(hashlib.blake2b(sample.to_bytes(8, "little"), digest_size=4).digest(), "little")
