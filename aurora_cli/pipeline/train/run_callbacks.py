"""The callbacks of a run: which there are, which options they take, and how they are made.

A callback is a module in `callbacks/` with a `CALLBACK`: it is found there, and nothing else lists them. One may have
options of its own, a `Section` beside it; they are given as `train.callbacks.<module>.<option>`.
"""

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from pydantic import ValidationError

from aurora_cli.config.section import Section
from aurora_cli.console import Reporter
from aurora_cli.errors import UsageError
from aurora_cli.io.json_files import JsonObject
from aurora_cli.pipeline.train import callbacks
from aurora_cli.pipeline.train.plan import StagePlan
from aurora_cli.training.callbacks.callback import Callback

if TYPE_CHECKING:
    from aurora_cli.data.batches.training_data import TrainingData
    from aurora_cli.training.engine.engine import Engine

SETTING = "train.callbacks"


class Running(NamedTuple):
    """What callbacks are made from: a run on one of its processes, before its first step."""

    plan: StagePlan
    engine: "Engine"
    data: "TrainingData"
    step: int
    """The one that it goes on after."""
    reporter: Reporter


class RunCallback(NamedTuple):
    """How a callback is made, and whether."""

    make: Callable[[Running, Any], Callback | None]
    """Gets the run and the options; none: this run has no such callback."""
    options: type[Section] | None = None
    """If it has any, the callback is made only where `train.callbacks` names it."""
    on_every_rank: bool = False
    """Whether other ranks than the main one have it too."""


def callbacks_of(run: Running) -> list[Callback]:
    """The callbacks of a run on this rank, in the order of their names."""
    options = options_in(run.plan.settings.train.callbacks)
    kinds = [
        (kind, options.get(name))
        for name, kind in _found()
        if (run.engine.is_main or kind.on_every_rank) and (kind.options is None or name in options)
    ]
    made = [kind.make(run, given) for kind, given in kinds]
    return [one for one in made if one is not None]


def options_in(given: JsonObject) -> dict[str, Section]:
    """The options in `train.callbacks` by the callback's name, checked; without those that are null.

    Raises:
        UsageError: no callback has such a name, or such options.
    """
    return {name: _checked(name, options) for name, options in given.items() if options is not None}


def with_options() -> dict[str, type[Section]]:
    """The callbacks that take options, and which."""
    return {name: kind.options for name, kind in _found() if kind.options is not None}


def _found() -> Iterator[tuple[str, RunCallback]]:
    for found in pkgutil.iter_modules(callbacks.__path__):
        yield found.name, cast(RunCallback, importlib.import_module(f"{callbacks.__name__}.{found.name}").CALLBACK)


def _checked(name: str, given: object) -> Section:
    kinds = with_options()
    if name not in kinds:
        known = ", ".join(kinds) or "none"
        raise UsageError(f"{SETTING}.{name}: there is no such callback, or it takes no options; those that do: {known}")
    try:
        return kinds[name].model_validate(given)
    except ValidationError as error:
        findings = [
            f"{'.'.join([SETTING, name, *map(str, one['loc'])])}: {one['input']!r} is not allowed: {one['msg']}"
            for one in error.errors(include_url=False)
        ]
        raise UsageError("\n".join(findings), hint=f"Its options: {', '.join(kinds[name].model_fields)}.") from None
