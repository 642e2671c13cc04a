"""The training loop: one optimizer step after another, on every rank alike."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn, Protocol

import torch

from aurora_cli.console import Reporter
from aurora_cli.errors import Interrupted
from aurora_cli.runs.lines import MetricsLine
from aurora_cli.runs.metadata import TrainState
from aurora_cli.training.callbacks.callback import Callback, ending_with
from aurora_cli.training.engine.engine import Engine
from aurora_cli.training.guards import Guards, Problem
from aurora_cli.training.metrics import measured, metrics_line, note_of, with_validation, with_validation_at_start
from aurora_cli.training.processes.collectives import raise_on_rank0
from aurora_cli.training.progress import next_state, step_seed
from aurora_cli.training.run_folder import RunFolder
from aurora_cli.training.schedule import lr_factor
from aurora_cli.training.step import (
    NO_DISTILLATION,
    Distillation,
    MicroBatch,
    ValidationResult,
    evaluate,
    optimizer_step,
)


class StepSource(Protocol):
    """The planned steps of a run and their batches. `data.batches.training_data.TrainingData` is one."""

    @property
    def total_steps(self) -> int: ...
    @property
    def has_validation(self) -> bool:
        """Whether some samples are kept apart, whose loss is measured before the first step and at every checkpoint."""
        ...

    def epoch_after(self, step: int) -> float:
        """How often the data have been gone through after `step` steps."""
        ...

    def batches(self, rank: int, world_size: int, *, start_step: int) -> Iterator[Sequence[MicroBatch]]:
        """A rank's micro-batches of each step after `start_step`."""
        ...

    def validation_batches(self, rank: int, world_size: int) -> Iterator[Sequence[MicroBatch]]:
        """A rank's micro-batches of all validation samples, grouped as those of steps are; of a mixture, at each kept
        ratio."""
        ...


@dataclass(frozen=True)
class LoopOptions:
    """What the loop does besides, and how often."""

    every: int
    """Steps between checkpoints."""
    warmup_ratio: float
    seed: int
    always_encode: bool
    """Run the tower and the projector in every micro-batch, images or not, so that all ranks do the same."""
    ratio_shares: Mapping[float, float] = field(default_factory=dict)
    """Of the kept ratios of a mixture, ascending; none of a single one."""
    distillation: Distillation = NO_DISTILLATION
    """Of steps that have a teacher."""


class Step(NamedTuple):
    """A step that is done."""

    state: TrainState
    """After it."""
    line: MetricsLine
    stop: bool
    """Some rank is to stop."""


class LoopResult(NamedTuple):
    """Where a run came to."""

    state: TrainState
    loss: float | None
    """Of the last step; None if there was none to do."""


@dataclass(frozen=True)
class Trainer:
    """All that the loop works with, the same on every rank."""

    engine: Engine
    source: StepSource
    folder: RunFolder
    options: LoopOptions
    guards: Guards
    callback: Callback
    reporter: Reporter
    stop_requested: Callable[[], bool]

    def train(self, state: TrainState) -> LoopResult:
        """Do the steps after `state` until the last, and save on the way and at the end.

        Raises:
            Interrupted: a stop was requested; the state is saved.
            DataError: too many media are unreadable, or the loss is not a number, or has jumped.
        """
        total = self.source.total_steps
        loss, loss_at_start = None, self._validation_at_start(state)
        steps = self.source.batches(self.engine.rank, self.engine.world_size, start_step=state.step)
        bar = self.reporter.training(self.folder.metadata.stage, total, self.folder.path)
        with ending_with(self.callback, self.engine), bar as advance:
            advance(state.step)
            while state.step < total:
                state, line, stop = self._step(state, steps)
                due = state.step % self.options.every == 0 or state.step == total
                if due and self.source.has_validation:
                    line = self._validated(line)
                if loss_at_start is not None:
                    line, loss_at_start = with_validation_at_start(line, loss_at_start), None
                line = self.callback.measure(self.engine, line)
                self.folder.add_metrics(line)
                advance(1, note_of(line))
                self.callback.on_step_end(self.engine, line)
                if due or stop:
                    self._save(state, line)
                    self.reporter.info(f"step {state.step:,} of {total:,} is saved: {note_of(line)}")
                if stop and state.step < total:
                    raise Interrupted(
                        f"stopped after step {state.step:,} of {total:,}; it is saved",
                        hint="The same command continues from there.",
                    )
                loss = line.loss
        return LoopResult(state, loss)

    def _step(self, before: TrainState, steps: Iterator[Sequence[MicroBatch]]) -> Step:
        """One optimizer step; the run ends here if it must not go on from it."""
        engine, options, step = self.engine, self.options, before.step + 1
        self.callback.on_step_begin(step)
        began = time.perf_counter()
        batches = next(steps)
        samples = [sample for batch in batches for sample in batch.sample_ids]
        self.callback.on_data(step, samples)
        torch.manual_seed(step_seed(options.seed, step, engine.rank))
        factor = lr_factor(step, self.source.total_steps, options.warmup_ratio)
        engine.set_lr(factor)
        on_encoded = self.callback.on_encoded
        result = optimizer_step(
            engine, batches, options.always_encode, self.stop_requested, on_encoded, options.distillation
        )
        if result.totals.rejected:
            self.folder.add_rejected(engine.gather_lists([one for batch in batches for one in batch.rejected]), step)
        state = next_state(before, result)
        if problem := self.guards.problem(before, state, result.loss, engine.guard_grad_norm(result.grad_norm)):
            self._give_up(problem, step, samples)
        epoch, seconds = self.source.epoch_after(step), time.perf_counter() - began
        line = metrics_line(step, epoch, engine.peak_lr * factor, result, seconds, batches[0].merging)
        return Step(state, line, result.stop)

    def _give_up(self, problem: Problem, step: int, samples: list[int]) -> NoReturn:
        """End the run on every rank; rank 0 says why."""
        samples = self.engine.gather_lists(samples)
        raise_on_rank0(problem.error(step, samples, self.folder.newest_checkpoint), is_main=self.engine.is_main)

    def _validation_at_start(self, state: TrainState) -> float | None:
        """The validation loss before the first step; none if that is done, or there are no such samples."""
        if state.step or not self.source.has_validation or not self.source.total_steps:
            return None
        result = self._validation(0)
        self.reporter.info(f"before the first step: validation loss {result.loss:.4f}")
        return result.loss

    def _validated(self, line: MetricsLine) -> MetricsLine:
        """The line with the loss of the validation samples."""
        result, first_time = self._validation(line.step), min(self.options.every, self.source.total_steps)
        if result.rejected and line.step == first_time:  # they are the same every time: listed once
            self.folder.add_rejected(result.rejected, line.step, validation=True)
        return with_validation(line, result)

    def _validation(self, step: int) -> ValidationResult:
        """What the validation samples come to after a step."""
        engine = self.engine
        return evaluate(
            engine,
            self.source.validation_batches(engine.rank, engine.world_size),
            self.options.always_encode,
            lambda: self.callback.on_validation_batch(step),
            self.callback.on_encoded,
            self.options.ratio_shares,
        )

    def _save(self, state: TrainState, line: MetricsLine) -> None:
        self.callback.on_checkpoint_begin(self.engine, state.step)
        self.callback.on_checkpoint(self.engine, self.folder.save(self.engine, state, measured(line)))
