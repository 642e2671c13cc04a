"""What a training run calls as it goes."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aurora_cli.runs.lines import MetricsLine

if TYPE_CHECKING:
    from torch import Tensor

    from aurora_cli.training.engine.engine import Engine
    from aurora_cli.training.step import MicroBatch


class Callback:
    """Called on every rank alike; by default does nothing."""

    def on_step_begin(self, step: int) -> None:
        """The data of a step are waited for."""

    def on_data(self, step: int, samples: Sequence[int]) -> None:
        """They are there: the numbers of this rank's samples."""

    def on_validation_batch(self, step: int) -> None:
        """Before each micro-batch of validation samples, which are gone through after a step."""

    def on_encoded(self, batch: "MicroBatch", encoded: "Tensor | None") -> None:
        """A micro-batch is in the network, of a run that keeps features: `encoded` (tokens, hidden) is what the tower
        gave for the frames that are not cached."""

    def measure(self, engine: "Engine", line: MetricsLine) -> MetricsLine:
        """A step is done: its line of metrics with what else is measured, before it is written."""
        return line

    def on_step_end(self, engine: "Engine", line: MetricsLine) -> None:
        """A step is done; `line` is what metrics.jsonl says of it."""

    def on_checkpoint_begin(self, engine: "Engine", step: int) -> None:
        """A checkpoint will be written, and an old one removed."""

    def on_checkpoint(self, engine: "Engine", checkpoint: Path) -> None:
        """A checkpoint is whole."""

    def on_train_end(self, engine: "Engine") -> None:
        """The run has come to its end, or was stopped and saved, or has failed."""


class Callbacks(Callback):
    """Several, called one after another in their order."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self._callbacks = tuple(callbacks)

    def on_step_begin(self, step: int) -> None:
        for one in self._callbacks:
            one.on_step_begin(step)

    def on_data(self, step: int, samples: Sequence[int]) -> None:
        for one in self._callbacks:
            one.on_data(step, samples)

    def on_validation_batch(self, step: int) -> None:
        for one in self._callbacks:
            one.on_validation_batch(step)

    def on_encoded(self, batch: "MicroBatch", encoded: "Tensor | None") -> None:
        for one in self._callbacks:
            one.on_encoded(batch, encoded)

    def measure(self, engine: "Engine", line: MetricsLine) -> MetricsLine:
        for one in self._callbacks:
            line = one.measure(engine, line)
        return line

    def on_step_end(self, engine: "Engine", line: MetricsLine) -> None:
        for one in self._callbacks:
            one.on_step_end(engine, line)

    def on_checkpoint_begin(self, engine: "Engine", step: int) -> None:
        for one in self._callbacks:
            one.on_checkpoint_begin(engine, step)

    def on_checkpoint(self, engine: "Engine", checkpoint: Path) -> None:
        for one in self._callbacks:
            one.on_checkpoint(engine, checkpoint)

    def on_train_end(self, engine: "Engine") -> None:
        for one in self._callbacks:
            one.on_train_end(engine)


@contextlib.contextmanager
def ending_with(callback: Callback, engine: "Engine") -> Iterator[None]:
    """Call `on_train_end` when the block ends, however it does."""
    try:
        yield
    finally:
        callback.on_train_end(engine)
