"""Who is told of a run's steps and checkpoints as they come."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from aurora_cli.runs.lines import MetricsLine

if TYPE_CHECKING:
    from aurora_cli.training.engine.engine import Engine


class Callback:
    """Told of a run's steps, on every rank alike; by default does nothing."""

    def on_step_end(self, engine: "Engine", line: MetricsLine) -> None:
        """A step is done; `line` is what metrics.jsonl says of it."""

    def on_checkpoint_begin(self, engine: "Engine") -> None:
        """A checkpoint will be written, and an old one removed."""

    def on_checkpoint(self, engine: "Engine", checkpoint: Path) -> None:
        """A checkpoint is whole."""

    def on_train_end(self, engine: "Engine") -> None:
        """The run has come to its end, or was stopped and saved."""


@contextlib.contextmanager
def ending_with(callbacks: Sequence[Callback], engine: "Engine") -> Iterator[None]:
    """Tell the callbacks when the block ends, however it does."""
    try:
        yield
    finally:
        for one in callbacks:
            one.on_train_end(engine)
