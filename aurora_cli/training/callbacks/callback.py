"""Who is told of a run's steps and checkpoints as they come."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aurora_cli.training.engine.engine import Engine

Line = Mapping[str, Any]
"""What metrics.jsonl says of a step."""


class Watcher:
    """Told of a run's steps, on every rank alike; by default does nothing."""

    def stepped(self, engine: "Engine", line: Line) -> None:
        """A step is done; `line` is what metrics.jsonl says of it."""

    def saving(self, engine: "Engine") -> None:
        """A checkpoint will be written, and an old one removed."""

    def saved(self, engine: "Engine", checkpoint: Path) -> None:
        """A checkpoint is whole."""

    def ended(self, engine: "Engine") -> None:
        """The run has come to its end, or was stopped and saved."""


@contextlib.contextmanager
def watched_to_its_end(watchers: Sequence[Watcher], engine: "Engine") -> Iterator[None]:
    """Tell the watchers when the block ends, however it does."""
    try:
        yield
    finally:
        for one in watchers:
            one.ended(engine)
