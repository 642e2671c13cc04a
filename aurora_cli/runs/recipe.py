"""Settings that a run may not change when it goes on."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import JsonValue, ValidationError

from aurora_cli.config import fields
from aurora_cli.config.settings import Settings
from aurora_cli.errors import UsageError
from aurora_cli.runs.layout import RESUME_FOLDER, STATE_FILE
from aurora_cli.runs.metadata import RECIPE_DATA, TRAINED_FOLDERS, Recipe, TrainedFolder, TrainState

SHOWN = 60
"""Characters of a value that a message shows."""

RECIPE_SECTIONS = {"model", "merging", "train", "data"}
"""Of the settings: those that a run's numbers can depend on."""


def recipe_of(settings: Settings) -> dict[str, JsonValue]:
    """The settings that a run may not go on with other values of, by dotted path."""
    tree = settings.model_dump(mode="json", include=RECIPE_SECTIONS)
    return {path: value for path, value in _flat(tree) if not _is_marked(path)}


@functools.cache
def may_change() -> frozenset[str]:
    """The settings that are marked so where they stand (`config.section.MayChange`)."""
    return frozenset(setting.path for setting in fields.settings() if setting.may_change)


def _is_marked(path: str) -> bool:
    """Whether a setting, or the free mapping that it stands in, is marked so."""
    steps = path.split(".")
    return any(".".join(steps[:count]) in may_change() for count in range(1, len(steps) + 1))


def check_recipe(checkpoint: Path, recipe: Recipe, stage: str) -> None:
    """Check that a run goes on with the settings that it began with.

    Raises:
        UsageError: it does not; the message names every setting that differs.
        DataError: the checkpoint is damaged.
    """
    stored = TrainState.read(checkpoint / RESUME_FOLDER / STATE_FILE).recipe
    began = {path: value for path, value in with_defaults(stored).items() if path in recipe or path in stored}
    differing = sorted(path for path in began.keys() | recipe.keys() if began.get(path) != recipe.get(path))
    if differing:
        changes = "; ".join(_change(path, began.get(path), recipe.get(path)) for path in differing)
        raise UsageError(
            f"{checkpoint}: stage {stage!r} was begun with other settings: {changes}",
            hint="Set them back; or begin again with --resume never (which removes that run),"
            f" or elsewhere with --run-dir runs/{stage}-2.",
        )


def with_defaults(stored: Recipe) -> Recipe:
    """What a run began with: a setting that its version did not have yet was, so to speak, at its default; one that may
    change by now was perhaps not allowed to then, and is left out."""
    began = {path: value for path, value in stored.items() if not _is_marked(path)}
    kept = {".".join(path.split(".")[:count]) for path in began for count in range(1, path.count(".") + 2)}
    defaults = {path: value for path, value in recipe_of(Settings()).items() if path not in kept}
    inside = tuple(f"{path}." for path in began)
    return {path: value for path, value in defaults.items() if not path.startswith(inside)} | began


def _flat(tree: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    """A tree of settings by dotted path."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _change(path: str, before: JsonValue, now: JsonValue) -> str:
    if path == RECIPE_DATA:
        try:
            return _folder_changes(
                TRAINED_FOLDERS.validate_python(before or ()), TRAINED_FOLDERS.validate_python(now or ())
            )
        except ValidationError:
            pass
    old, new = (("unset" if value is None else str(value)) for value in (before, now))
    if old[:SHOWN] == new[:SHOWN]:  # cut, both would read alike
        same = next((at for at, (one, other) in enumerate(zip(old, new, strict=False)) if one != other), SHOWN)
        old, new = (f"...{text[max(0, same - 10) :]}" for text in (old, new))
    return f"{path} was {_shown(old)}, is now {_shown(new)}"


def _folder_changes(before: Sequence[TrainedFolder], now: Sequence[TrainedFolder]) -> str:
    """Which folders came, went, or hold other rows.

    >>> _folder_changes([TrainedFolder("a", 1.0, 5)], [TrainedFolder("a", 2.0, 5), TrainedFolder("b", 1.0, 8)])
    'data folders: a has weight 2, had 1; b (8 samples) is new'
    """
    old, new = ({folder.folder: folder for folder in folders} for folders in (before, now))
    changes = [f"{name} ({old[name].samples:,} samples) is gone" for name in old if name not in new]
    for name, folder in new.items():
        if name not in old:
            changes.append(f"{name} ({folder.samples:,} samples) is new")
            continue
        if folder.weight != old[name].weight:
            changes.append(f"{name} has weight {folder.weight:g}, had {old[name].weight:g}")
        if folder.samples != old[name].samples:
            changes.append(f"{name} has {folder.samples:,} samples, had {old[name].samples:,}")
    return f"{RECIPE_DATA}: " + ("; ".join(changes) or "they are in another order")


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 3]}..."
