"""What a run writes into its folder as it goes: lines of metrics and rejected samples, checkpoints. Rank 0 writes."""

from collections.abc import Iterable
from pathlib import Path

from aurora_cli.constants import REJECTS_FILE
from aurora_cli.runs.checkpoints import newest
from aurora_cli.runs.layout import CHECKPOINTS, METRICS_FILE
from aurora_cli.runs.lines import MetricsLine, RejectedLine, Rejection, append_lines, cut_back
from aurora_cli.runs.metadata import NOT_MEASURED, CheckpointMetadata, Measured, TrainState
from aurora_cli.training import checkpoint
from aurora_cli.training.checkpoint import HasState


class RunFolder:
    """Called on every rank alike."""

    def __init__(self, path: Path, metadata: CheckpointMetadata, *, keep: int, is_main: bool) -> None:
        """`metadata` is of the run's checkpoints but for step and order hash; `keep` is how many of them stay."""
        self.path = path
        self.metadata = metadata
        self._keep = keep
        self._is_main = is_main

    @property
    def newest_checkpoint(self) -> Path | None:
        return newest(self.path / CHECKPOINTS)

    def begin_after(self, step: int | None, rejected: Iterable[Rejection]) -> None:
        """Cut the lines back to a checkpoint's `step`. A run from the start (none) has `rejected` before its first."""
        if not self._is_main:
            return
        for name in (METRICS_FILE, REJECTS_FILE):
            cut_back(self.path / name, -1 if step is None else step)
        if step is None:
            append_lines(self.path / REJECTS_FILE, (RejectedLine.of(one, step=0) for one in rejected))

    def add_metrics(self, line: MetricsLine) -> None:
        if self._is_main:
            append_lines(self.path / METRICS_FILE, [line])

    def add_rejected(self, rejected: Iterable[Rejection], step: int, *, validation: bool = False) -> None:
        """List all ranks' rejected samples of a step."""
        if self._is_main:
            lines = (RejectedLine.of(one, step, validation=validation) for one in rejected)
            append_lines(self.path / REJECTS_FILE, lines)

    def save(self, engine: HasState, state: TrainState, measured: Measured = NOT_MEASURED) -> Path:
        """Write a checkpoint, which all ranks do together; `measured` is what its weights came to."""
        update = {"step": state.step, "order_hash": state.order_hash, **measured._asdict()}
        metadata = self.metadata.model_copy(update=update)
        return checkpoint.save(self.path / CHECKPOINTS, engine, metadata, state, self._keep)
