"""Settings that a run may not change when it goes on."""

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import JsonValue

from aurora_cli.config import fields
from aurora_cli.config.settings import Settings
from aurora_cli.errors import UsageError
from aurora_cli.runs.layout import RESUME_FOLDER, STATE_FILE
from aurora_cli.runs.metadata import Recipe, TrainState

RECIPE_SECTIONS = {"model", "merging", "train", "data"}
"""Of the settings: those that a run's numbers can depend on."""


def recipe_of(settings: Settings) -> dict[str, JsonValue]:
    """The settings that a run may not go on with other values of, by dotted path."""
    tree = settings.model_dump(mode="json", include=RECIPE_SECTIONS)
    return {path: value for path, value in _flat(tree) if path not in may_change()}


@functools.cache
def may_change() -> frozenset[str]:
    """The settings that are marked so where they stand (`config.section.MayChange`)."""
    return frozenset(setting.path for setting in fields.settings() if setting.may_change)


def check_recipe(checkpoint: Path, recipe: Recipe, stage: str) -> None:
    """Check that a run goes on with the settings that it began with.

    Raises:
        UsageError: it does not; the message names every setting that differs.
        DataError: the checkpoint is damaged.
    """
    stored = TrainState.read(checkpoint / RESUME_FOLDER / STATE_FILE).recipe
    # A setting that the run's version did not have yet was, so to speak, at its default; one that may change by now
    # was perhaps not allowed to then.
    defaults = recipe_of(Settings())
    began = {path: defaults[path] for path in recipe.keys() & defaults.keys()}
    began |= {path: value for path, value in stored.items() if path not in may_change()}
    differing = sorted(path for path in began.keys() | recipe.keys() if began.get(path) != recipe.get(path))
    if differing:
        changes = "; ".join(
            f"{path} was {_shown(began.get(path))}, is now {_shown(recipe.get(path))}" for path in differing
        )
        raise UsageError(
            f"{checkpoint}: stage {stage!r} was begun with other settings: {changes}",
            hint="Set them back; or begin again with --resume never (which removes that run),"
            f" or elsewhere with --run-dir runs/{stage}-2.",
        )


def _flat(tree: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    """A tree of settings by dotted path."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _shown(value: JsonValue) -> str:
    text = "unset" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
