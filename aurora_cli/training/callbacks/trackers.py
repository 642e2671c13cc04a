"""Experiment trackers: they get what metrics.jsonl gets."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aurora_cli.console import Reporter
from aurora_cli.errors import UsageError
from aurora_cli.runs.layout import TENSORBOARD
from aurora_cli.runs.lines import MetricsLine
from aurora_cli.runs.metadata import Recipe
from aurora_cli.training.callbacks.callback import Callback

if TYPE_CHECKING:
    from aurora_cli.training.engine.engine import Engine

PROJECT = "aurora"
"""What runs are filed under by trackers that file them."""


def check_trackers(names: Sequence[str]) -> None:
    """
    Raises:
        UsageError: accelerate knows no such tracker, or its package is not installed.
    """
    if set(names) <= {TENSORBOARD} and find_spec("tensorboardX") is not None:
        return  # as by default: the table of all, which imports torch, is not needed
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

    known = sorted(LOGGER_TYPE_TO_CLASS)
    installed = {str(getattr(name, "value", name)) for name in get_available_trackers()}
    for name in names:
        if name not in known:
            raise UsageError(f"train.trackers: {name!r} is no tracker", hint=f"One of {', '.join(known)}.")
        if name not in installed:
            raise UsageError(f"train.trackers: {name} is not installed", hint=f"pip install {name}")


class Trackers(Callback):
    """Sends every line of metrics to accelerate's trackers, from rank 0."""

    def __init__(self, names: Sequence[str], run_dir: Path, step: int, recipe: Recipe, reporter: Reporter) -> None:
        """`step` is the one that the run goes on after."""
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        self._reporter = reporter
        self._trackers: list[Any] = []
        for name in names:
            kind: Any = LOGGER_TYPE_TO_CLASS[name]
            if name == TENSORBOARD:
                one = kind(TENSORBOARD, run_dir, purge_step=step + 1)  # the lost steps are not shown
            else:
                folder = [run_dir] if kind.requires_logging_directory else []
                one = kind(PROJECT, *folder)
            one.start()
            if name != TENSORBOARD:  # it would make every setting a run of its own
                one.store_init_configuration(dict(recipe))
            self._trackers.append(one)

    def on_step_end(self, engine: "Engine", line: MetricsLine) -> None:
        values = {
            name: value for name, value in line.to_json().items() if name != "step" and isinstance(value, int | float)
        }
        for one in list(self._trackers):
            try:
                one.log(values, step=line.step)
            except Exception as error:  # its network is no reason to end a run of days
                self._trackers.remove(one)
                self._reporter.warning(f"{one.name} has failed and gets no more metrics: {error}")

    def on_train_end(self, engine: "Engine") -> None:
        for one in self._trackers:
            one.finish()
