"""Captions by Ray Data: an actor a GPU maps over tables of media, and what an actor that died had is done by another.

Results come in the order of the rows, whoever makes them, so that one process writes the output as ever.
"""

import itertools
import pickle
from collections.abc import Iterator
from typing import Any

from aurora_cli.captioning.engines.local import RowsOf
from aurora_cli.captioning.engines.ray_actor import COLUMN, CaptionActor, Task, TaskResult, Tries, table_of
from aurora_cli.captioning.engines.ray_setup import Pool, ray_pool
from aurora_cli.captioning.job.rows import Row
from aurora_cli.captioning.result import CaptionedBatch
from aurora_cli.config.settings import Settings
from aurora_cli.console import Reporter

BATCHES_A_TASK = 4
"""That an actor captions in one go. At the end of a go a batch is not full; who stops a run loses those under way."""


class RayEngine:
    """Captions with the actors of a cluster. All rows are read before the first is captioned."""

    def __init__(self, settings: Settings, model: str, rows_of: RowsOf, reporter: Reporter) -> None:
        self._settings = settings.model_copy(update={"workspace": settings.workspace.absolute()})
        self._model, self._rows_of, self._reporter = model, rows_of, reporter
        self._warned: set[str] = set()

    def captions(self, rows: Iterator[Row]) -> Iterator[CaptionedBatch]:
        with ray_pool(self._settings.caption) as (ray, pool):
            for result in self._results(ray, pool, tasks_of(rows, pool.size, self._settings.caption.batch_size)):
                for warning in result.warnings:
                    if warning not in self._warned:
                        self._warned.add(warning)
                        self._reporter.warning(warning)
                if result.tries > 1:
                    media = len(result.batch.captions) + len(result.batch.uncaptioned)
                    self._reporter.warning(f"a process was lost; its {media:,} media were captioned by another")
                if result.error is not None:
                    raise result.error
                yield result.batch

    def _results(self, ray: Any, pool: Pool, tasks: Iterator[Task]) -> Iterator[TaskResult]:
        """Of each task, in their order."""
        import ray.data as ray_data

        context = ray_data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        size = {"min_size": pool.size} if pool.grows else {"size": pool.size}
        tries = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(Tries).remote()
        self._reporter.info(f"Ray: {pool.size} processes" + (" or more" if pool.grows else ""))
        captioned = ray_data.from_arrow_refs([ray.put(table_of(task)) for task in tasks]).map_batches(
            CaptionActor,
            batch_size=1,
            batch_format="pyarrow",
            compute=ray_data.ActorPoolStrategy(**size),
            num_cpus=pool.cpus,
            num_gpus=pool.gpus or None,
            fn_constructor_args=(self._settings, self._model, self._rows_of, pool.cpus, tries),
        )
        for table in captioned.iter_batches(batch_size=1, batch_format="pyarrow", prefetch_batches=0):
            yield pickle.loads(table.column(COLUMN)[0].as_py())


def tasks_of(rows: Iterator[Row], actors: int, batch_size: int) -> Iterator[Task]:
    """The rows in tasks of a few batches; of fewer, where not every actor would have one.

    >>> from aurora_cli.captioning.job.rows import row_of
    >>> from aurora_cli.data.media.listing import Medium
    >>> row = row_of(Medium("a.png", "a.png", "image"))
    >>> [len(task.rows) for task in tasks_of(iter([row] * 70), 2, 8)]
    [32, 32, 6]
    >>> [len(task.rows) for task in tasks_of(iter([row] * 10), 4, 8)]
    [3, 3, 3, 1]
    """
    most = BATCHES_A_TASK * batch_size
    first = [*itertools.islice(rows, actors * most)]
    size = max(1, min(most, -(-len(first) // actors)))
    rest = itertools.chain(first, rows)
    for number in itertools.count():
        if not (some := [*itertools.islice(rest, size)]):
            return
        yield Task(number, [_anywhere(row) for row in some])


def _anywhere(row: Row) -> Row:
    """With paths that hold in other processes, which begin in other folders."""
    medium = row.medium
    if medium.is_remote or medium.content is not None:
        return row
    frames = tuple(path.absolute() for path in medium.frames)
    return row._replace(medium=medium._replace(location=str(medium.path.absolute()), frames=frames))
