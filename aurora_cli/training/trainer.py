"""The training loop: one optimizer step after another, on every rank alike, and what is written of each."""

import hashlib
import math
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch

from aurora_cli.console import Reporter
from aurora_cli.constants import REJECTS_FILE
from aurora_cli.errors import Interrupted
from aurora_cli.runs.checkpoints import newest
from aurora_cli.runs.layout import CHECKPOINTS, METRICS_FILE
from aurora_cli.runs.lines import MetricsLine, RejectedLine, Rejection, append_lines
from aurora_cli.runs.metadata import CheckpointMetadata, TrainState
from aurora_cli.training import checkpoint
from aurora_cli.training.callbacks.callback import Callback, ending_with
from aurora_cli.training.engine.engine import Engine
from aurora_cli.training.guards import MediaLimit, loss_ema, loss_error, loss_problem
from aurora_cli.training.processes.collectives import raise_on_rank0
from aurora_cli.training.processes.watchdog import Watchdog
from aurora_cli.training.schedule import lr_factor
from aurora_cli.training.step import MicroBatch, StepResult, ValidationResult, evaluate, optimizer_step


class StepSchedule(Protocol):
    """The plan of a run's steps. `data.batches.training_data.TrainingData` is one."""

    @property
    def total_steps(self) -> int: ...
    def epoch_after(self, step: int) -> float:
        """How often the data has been gone through after `step` steps."""
        ...


@dataclass(frozen=True)
class LoopConfig:
    """What a run needs besides engine and data."""

    run_dir: Path
    description: CheckpointMetadata
    every: int
    keep: int
    warmup_ratio: float
    seed: int
    always_encode: bool
    """Run the tower and the projector in every micro-batch, images or not, so that all ranks do the same."""
    media_limit: MediaLimit
    max_loss_jump: float | None = None
    held_out: Callable[[], Iterator[Sequence[MicroBatch]]] | None = None
    """This rank's share of the samples whose loss is measured at every checkpoint; none: there are none."""
    callbacks: Sequence[Callback] = ()

    @property
    def checkpoints(self) -> Path:
        return self.run_dir / CHECKPOINTS


class LoopResult(NamedTuple):
    """Where a run came to."""

    position: TrainState
    loss: float | None
    """Of the last step; None if there was none to do."""


def train(
    engine: Engine,
    steps: Iterator[Sequence[MicroBatch]],
    course: StepSchedule,
    loop: LoopConfig,
    position: TrainState,
    *,
    reporter: Reporter,
    watchdog: Watchdog,
    stop_asked: Callable[[], bool],
) -> LoopResult:
    """Do the steps after `position` until the course's last, and save on the way and at the end.

    `steps` yields this rank's micro-batches of each step, beginning with `position.step + 1`.

    Raises:
        Interrupted: somebody asked to stop; the state is saved.
        DataError: too many media are unreadable, or the loss is not a number, or has jumped.
    """
    total = course.total_steps
    loss: float | None = None
    progress = reporter.progress(f"train {loop.description.stage}", total, "steps")
    with ending_with(loop.callbacks, engine), progress as advance:
        advance(position.step)
        while position.step < total:
            step = position.step + 1
            watchdog.step(step)
            began = time.perf_counter()
            batches = next(steps)
            watchdog.step(step, [sample for batch in batches for sample in batch.sample_ids])
            factor = lr_factor(step, total, loop.warmup_ratio)
            torch.manual_seed(_seed(loop.seed, step, engine.accelerator.process_index))
            engine.set_lr(factor)
            stepped = optimizer_step(engine, batches, loop.always_encode, stop_asked)
            loss = stepped.loss
            if stepped.totals.rejected:
                _list_rejects(engine, loop.run_dir, step, [item for batch in batches for item in batch.rejected])
            position = _judged(engine, loop, position, step, stepped, batches)
            line = _metrics(course.epoch_after(step), step, engine.peak_lr * factor, stepped, began)
            due = step % loop.every == 0 or step == total
            if due and loop.held_out is not None:
                line = line.model_copy(update=_validated(engine, loop, step, min(loop.every, total), watchdog))
            if engine.is_main:
                append_lines(loop.run_dir / METRICS_FILE, [line])
            advance(1, note_of(line))
            for callback in loop.callbacks:
                watchdog.step(step)
                callback.on_step_end(engine, line)
            if due or stepped.stop:
                watchdog.step(step)
                _save(engine, loop, position)
                reporter.info(f"step {step:,} of {total:,} is saved: {note_of(line)}")
            if stepped.stop and step < total:
                raise Interrupted(
                    f"stopped after step {step:,} of {total:,}; it is saved",
                    hint="The same command continues from there.",
                )
    return LoopResult(position, loss)


def _judged(
    engine: Engine, loop: LoopConfig, before: TrainState, step: int, stepped: StepResult, batches: Sequence[MicroBatch]
) -> TrainState:
    """The position after a step; if the run must not go on, every rank ends here, and rank 0 says why."""
    totals = stepped.totals
    usual = before.loss_ema
    if (
        problem := loss_problem(stepped.loss, engine.guard_grad_norm(stepped.gradient_norm), usual, loop.max_loss_jump)
    ) is not None:
        samples = engine.gather_lists([sample for batch in batches for sample in batch.sample_ids])
        raise_on_rank0(loss_error(problem, step, samples, newest(loop.checkpoints)), is_main=engine.is_main)
    position = before.model_copy(
        update={
            "step": step,
            "samples_seen": before.samples_seen + totals.samples,
            "samples_rejected": before.samples_rejected + totals.rejected,
            "media_files": before.media_files + totals.media_files,
            "media_unreadable": before.media_unreadable + totals.bad_media,
            "loss_ema": loss_ema(usual, stepped.loss),
            "order_hash": next_order_hash(before.order_hash, totals.order),
        }
    )
    if totals.bad_media and (
        error := loop.media_limit.problem(position.samples_seen, position.media_files, position.media_unreadable)
    ):
        raise_on_rank0(error, is_main=engine.is_main)
    return position


def _validated(engine: Engine, loop: LoopConfig, step: int, first_step: int, watchdog: Watchdog) -> dict[str, Any]:
    """What a line of metrics says of the held-out samples."""
    assert loop.held_out is not None
    seen: ValidationResult = evaluate(engine, loop.held_out(), loop.always_encode, lambda: watchdog.step(step))
    if seen.rejected and step == first_step:  # they are the same every time: listed once
        _append_rejects(engine, loop.run_dir, step, seen.rejected, validation=True)
    return {
        "validation_loss": seen.loss,
        "validation_samples": seen.totals.samples,
        "validation_target_tokens": seen.totals.taught,
    }


def _seed(seed: int, step: int, rank: int) -> int:
    """Of dropout in one step on one rank: saved nowhere, the same after a resume."""
    digest = hashlib.blake2b(f"{seed}/{step}/{rank}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def next_order_hash(before: str, step_digest: int) -> str:
    """A chain over steps: equal only if every step so far took the same samples, on however many ranks."""
    return hashlib.sha256(f"{before}:{step_digest}".encode()).hexdigest()


def _metrics(epoch: float, step: int, lr: float, stepped: StepResult, began: float) -> MetricsLine:
    totals = stepped.totals
    step_s = time.perf_counter() - began
    return MetricsLine(
        step=step,
        epoch=round(epoch, 6),
        loss=stepped.loss,
        lr=lr,
        grad_norm=stepped.gradient_norm if math.isfinite(stepped.gradient_norm) else None,
        samples=totals.samples,
        tokens=totals.tokens,
        target_tokens=totals.taught,
        visual_tokens=totals.visual,
        fill=round(totals.tokens / totals.positions, 6),
        step_s=round(step_s, 6),
        tokens_per_s=round(totals.tokens / step_s, 3),
        max_mem_mb=round(_max_memory_mb(), 1),
    )


def note_of(line: MetricsLine) -> str:
    """A step's line of metrics in a few words."""
    validation = "" if line.validation_loss is None else f" (held out {line.validation_loss:.4f})"
    return (
        f"loss {line.loss:.4f}{validation}, lr {line.lr:.3g}, {line.tokens_per_s:,.0f} tokens/s,"
        f" {line.fill:.0%} full, {line.max_mem_mb / 1024:,.1f} GB"
    )


def _max_memory_mb() -> float:
    """The most memory held so far: of the GPU if there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def _list_rejects(engine: Engine, run_dir: Path, step: int, local: list[Rejection]) -> None:
    """List all ranks' rejects of a step. A call that all make together."""
    _append_rejects(engine, run_dir, step, engine.gather_lists(local))


def _append_rejects(
    engine: Engine, run_dir: Path, step: int, rejected: list[Rejection], *, validation: bool = False
) -> None:
    if engine.is_main:
        append_lines(run_dir / REJECTS_FILE, (RejectedLine.of(one, step, validation=validation) for one in rejected))


def _save(engine: Engine, loop: LoopConfig, position: TrainState) -> None:
    for callback in loop.callbacks:
        callback.on_checkpoint_begin(engine)
    description = loop.description.model_copy(update={"step": position.step, "order_hash": position.order_hash})
    path = checkpoint.save(loop.checkpoints, engine, description, position, loop.keep)
    for callback in loop.callbacks:
        callback.on_checkpoint(engine, path)
