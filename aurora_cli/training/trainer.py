"""The training loop: one optimizer step after another, on every rank alike.

A step takes `train.global_batch_packs` packs, wherever they are computed. Its loss is the sum of the cross-entropies of
all taught tokens of that global batch, over their number: neither ranks nor micro-batches show in the result.
"""

import hashlib
import math
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from aurora_cli.console import Reporter
from aurora_cli.constants import REJECTS_FILE
from aurora_cli.errors import DataError, Interrupted
from aurora_cli.training import checkpoint
from aurora_cli.training.checkpoint import Description, Position
from aurora_cli.training.engine import Engine
from aurora_cli.training.optim import lr_factor
from aurora_cli.training.records import METRICS_FILE, append_lines
from aurora_cli.training.watchdog import Watchdog

SPEAK_EVERY_S = 10.0


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
    def taught_tokens(self) -> int: ...
    @property
    def text_tokens(self) -> int: ...
    @property
    def visual_tokens(self) -> int: ...
    @property
    def positions(self) -> int: ...
    @property
    def rejected(self) -> list[dict[str, Any]]: ...


class Course(Protocol):
    """The plan of a run's steps. `data.loader.TrainingData` is one."""

    @property
    def total_steps(self) -> int: ...
    def epoch_after(self, step: int) -> float:
        """How often the data has been gone through after `step` steps."""
        ...


@dataclass(frozen=True)
class Loop:
    """What a run needs besides engine and data."""

    run_dir: Path
    description: Description
    every: int
    keep: int
    warmup_ratio: float
    seed: int
    always_encode: bool
    """Run the tower and the projector in every micro-batch, pictures or not, so that all ranks do the same."""


class Outcome(NamedTuple):
    """Where a run came to."""

    position: Position
    loss: float | None
    """Of the last step; None if there was none to do."""


class Totals(NamedTuple):
    """A step's counts over all ranks."""

    taught: float
    samples: float
    text: float
    visual: float
    positions: float
    rejected: float
    order: float


def train(
    engine: Engine,
    steps: Iterator[Sequence[MicroBatch]],
    course: Course,
    loop: Loop,
    position: Position,
    *,
    reporter: Reporter,
    dog: Watchdog,
    stop_asked: Callable[[], bool],
) -> Outcome:
    """Do the steps after `position` until the course's last, and save on the way and at the end.

    `steps` yields this rank's micro-batches of each step, beginning with `position.step + 1`.

    Raises:
        Interrupted: somebody asked to stop; the state is saved.
        DataError: too many media are unreadable, or the loss is not a number.
    """
    total = course.total_steps
    loss: float | None = None
    spoken = time.monotonic()
    saved_step = position.step
    with reporter.progress(f"train {loop.description.stage}", total, "steps") as advance:
        advance(position.step)
        while position.step < total:
            step = position.step + 1
            dog.step(step)
            began = time.perf_counter()
            batches = next(steps)
            dog.step(step, [sample for batch in batches for sample in batch.sample_ids])
            factor = lr_factor(step, total, loop.warmup_ratio)
            torch.manual_seed(_seed(loop.seed, step, engine.accelerator.process_index))
            engine.set_lr(factor)
            totals, loss, norm, stop = _step(engine, batches, loop.always_encode, stop_asked)
            if not math.isfinite(loss):
                samples = engine.gather_lists([sample for batch in batches for sample in batch.sample_ids])
                raise DataError(
                    f"step {step}: the loss is {loss}; samples {sorted(samples)}",
                    hint="Look at them with `aurora inspect`, or lower train.*.lr. The last checkpoint is from before.",
                )
            position = replace(
                position,
                step=step,
                samples_seen=position.samples_seen + int(totals.samples),
                samples_rejected=position.samples_rejected + int(totals.rejected),
                order_hash=next_order_hash(position.order_hash, int(totals.order)),
            )
            if totals.rejected:
                _list_rejects(engine, loop.run_dir, step, batches)
            if engine.is_main:
                line = _metrics(
                    course.epoch_after(step),
                    step,
                    loss,
                    max(group.lr for group in engine.groups) * factor,
                    norm,
                    totals,
                    time.perf_counter() - began,
                )
                append_lines(loop.run_dir / METRICS_FILE, [line])
                if time.monotonic() - spoken >= SPEAK_EVERY_S or step == total:
                    spoken = time.monotonic()
                    reporter.info(
                        f"step {step:,} of {total:,}: loss {loss:.4f}, lr {line['lr']:.3g},"
                        f" {line['tokens_per_s']:,.0f} tokens/s"
                    )
            advance(1)
            if step % loop.every == 0 or step == total or stop:
                dog.step(step)
                _save(engine, loop, position)
                saved_step = step
            if stop and step < total:
                raise Interrupted(
                    f"stopped after step {step:,} of {total:,}; it is saved",
                    hint="The same command continues from there.",
                )
    assert saved_step == position.step, "the last step is always saved"
    return Outcome(position, loss)


def _step(
    engine: Engine, batches: Sequence[MicroBatch], always_encode: bool, stop_asked: Callable[[], bool]
) -> tuple[Totals, float, float, bool]:
    """One optimizer step. Returns the counts, the loss, the gradient's norm before clipping, and whether to stop."""
    counts = torch.tensor(
        [
            sum(batch.taught_tokens for batch in batches),
            sum(len(batch.sample_ids) for batch in batches),
            sum(batch.text_tokens for batch in batches),
            sum(batch.visual_tokens for batch in batches),
            sum(batch.positions for batch in batches),
            sum(len(batch.rejected) for batch in batches),
            sum(_order_digest(sample) for batch in batches for sample in batch.sample_ids),
        ],
        dtype=torch.float64,
    ).to(engine.device)
    counts = engine.sum_over_ranks(counts)
    denominator = counts[0].clamp(min=1.0) / engine.loss_scale
    loss = torch.zeros((), dtype=torch.float64, device=engine.device)
    norm: torch.Tensor | None = None
    for batch in batches:
        with engine.accelerator.accumulate(engine.model):
            output = engine.model(
                **_inputs(batch, engine.device),
                num_items_in_batch=denominator.float(),
                expanded=True,
                always_encode=always_encode,
            )
            loss += output.loss.detach() / engine.loss_scale
            norm = engine.backward(output.loss)
    assert norm is not None, "the last micro-batch of a step ends the accumulation"
    stop = torch.tensor(float(stop_asked()), dtype=torch.float64, device=engine.device)
    ends = engine.sum_over_ranks(torch.stack([loss, stop]))
    *totals, whole_loss, any_stop, norm_value = torch.cat([counts, ends, norm[None]]).tolist()
    return Totals(*totals), whole_loss, norm_value, any_stop > 0


def _inputs(batch: MicroBatch, device: torch.device) -> dict[str, torch.Tensor | None]:
    tensors = {
        "input_ids": batch.input_ids,
        "position_ids": batch.position_ids,
        "segment_ids": batch.segment_ids,
        "labels": batch.labels,
        "pixel_values": batch.pixel_values,
        "media_lengths": batch.media_lengths,
    }
    return {name: None if tensor is None else tensor.to(device, non_blocking=True) for name, tensor in tensors.items()}


def _seed(seed: int, step: int, rank: int) -> int:
    """Of dropout in one step on one rank: saved nowhere, the same after a resume."""
    digest = hashlib.blake2b(f"{seed}/{step}/{rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _order_digest(sample: int) -> int:
    """32 bits: a step's sum over its samples is exact in a float64, and is summed over ranks with the counts."""
    return int.from_bytes(hashlib.blake2b(sample.to_bytes(8, "little"), digest_size=4).digest(), "little")


def next_order_hash(before: str, step_digest: int) -> str:
    """A chain over steps: equal only if every step so far took the same samples, on however many ranks."""
    return hashlib.sha256(f"{before}:{step_digest}".encode()).hexdigest()


def _metrics(
    epoch: float, step: int, loss: float, lr: float, norm: float, totals: Totals, step_s: float
) -> dict[str, Any]:
    tokens = int(totals.text + totals.visual)
    return {
        "step": step,
        "epoch": round(epoch, 6),
        "loss": loss,
        "lr": lr,
        "grad_norm": norm,
        "samples": int(totals.samples),
        "tokens": tokens,
        "taught_tokens": int(totals.taught),
        "visual_tokens": int(totals.visual),
        "fill": round(tokens / totals.positions, 6),
        "step_s": round(step_s, 6),
        "tokens_per_s": round(tokens / step_s, 3),
        "max_mem_mb": round(_max_memory_mb(), 1),
    }


def _max_memory_mb() -> float:
    """The most memory held so far: of the GPU if there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def _list_rejects(engine: Engine, run_dir: Path, step: int, batches: Sequence[MicroBatch]) -> None:
    rejected = engine.gather_lists([item for batch in batches for item in batch.rejected])
    if engine.is_main:
        append_lines(run_dir / REJECTS_FILE, [{"step": step, **item} for item in rejected])


def _save(engine: Engine, loop: Loop, position: Position) -> None:
    description = replace(loop.description, step=position.step, order_hash=position.order_hash)
    checkpoint.save(loop.run_dir / "checkpoints", engine, description, position, loop.keep)
