"""What an actor of Ray does: it keeps a captioner, and captions the media of one table after the other.

Rows and results travel as pickles in a column of bytes, between processes of one command. An error that users can meet
comes back as a result, for Ray would try again what fails each time.
"""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa

from aurora_cli.captioning.engines.local import LocalEngine, RowsOf
from aurora_cli.captioning.job.rows import Row
from aurora_cli.captioning.job.source import CaptionerSource
from aurora_cli.captioning.result import CaptionedBatch
from aurora_cli.config.settings import Settings
from aurora_cli.console import Reporter
from aurora_cli.errors import AuroraError, HostError

COLUMN = "pickle"
MAX_TRIES = 4
"""Of the same media: whoever captioned them was killed each time, and the media may be why."""


class Task(NamedTuple):
    """Media that an actor captions in one go."""

    number: int
    rows: Sequence[Row]


@dataclass(frozen=True)
class TaskResult:
    """What became of a task."""

    batch: CaptionedBatch
    warnings: tuple[str, ...] = ()
    tries: int = 1
    """More than one: the actors of those before were lost."""
    error: AuroraError | None = None


class Tries:
    """An actor that counts how often each task was begun."""

    def __init__(self) -> None:
        self._begun: dict[int, int] = {}

    def begin(self, number: int) -> int:
        self._begun[number] = self._begun.get(number, 0) + 1
        return self._begun[number]

    def end(self, number: int) -> None:
        self._begun.pop(number, None)


class CaptionActor:
    """What `map_batches` makes one of in each process. The weights are read at the first media."""

    def __init__(self, settings: Settings, model: str, rows_of: RowsOf, threads: int, tries: Any) -> None:
        """`tries`: the handle of a `Tries`."""
        self._settings, self._model, self._rows_of = settings, model, rows_of
        self._threads, self._tries = threads, tries
        self._reporter = _Warnings()
        self._engine: LocalEngine | None = None

    def __call__(self, table: pa.Table) -> pa.Table:
        return table_of(self._done(pickle.loads(table.column(COLUMN)[0].as_py())))

    def _done(self, task: Task) -> TaskResult:
        import ray

        tries = ray.get(self._tries.begin.remote(task.number))
        whole = CaptionedBatch([], [])
        try:
            if tries > MAX_TRIES:
                raise _killed(task)
            for batch in self._opened().captions(iter(task.rows)):
                whole.captions.extend(batch.captions)
                whole.uncaptioned.extend(batch.uncaptioned)
        except AuroraError as error:
            return TaskResult(whole, error=error)
        self._tries.end.remote(task.number)
        return TaskResult(whole, self._reporter.taken(), tries)

    def _opened(self) -> LocalEngine:
        if self._engine is None:
            import torch

            torch.set_num_threads(self._threads)
            source = CaptionerSource(self._settings, self._model, self._reporter)
            self._engine = LocalEngine(source, self._settings.caption, self._rows_of, self._reporter)
        return self._engine


class _Warnings(Reporter):
    """Keeps what is warned of."""

    def __init__(self) -> None:
        self._kept: list[str] = []

    def warning(self, message: str) -> None:
        self._kept.append(message)

    def taken(self) -> tuple[str, ...]:
        taken, self._kept = tuple(self._kept), []
        return taken


def table_of(content: Task | TaskResult) -> pa.Table:
    return pa.table({COLUMN: [pickle.dumps(content)]})


def _killed(task: Task) -> HostError:
    first, last = task.rows[0].medium.name, task.rows[-1].medium.name
    return HostError(
        f"the process that captions {first} (to {last}, {len(task.rows):,} media) was killed {MAX_TRIES} times",
        hint="By the kernel, for want of memory (a smaller --batch-size takes less), or by one of these media.",
    )
