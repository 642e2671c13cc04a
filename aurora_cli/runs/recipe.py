"""Settings that a run may not change when it goes on."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import JsonValue

from aurora_cli.config.settings import Settings
from aurora_cli.errors import UsageError
from aurora_cli.runs.layout import RESUME_FOLDER, STATE_FILE
from aurora_cli.runs.metadata import Recipe, TrainState

FREE_TO_CHANGE = (
    "train.max_steps",
    "train.epochs",
    "train.num_processes",
    "train.deepspeed",
    "train.micro_batch_packs",
    "train.precision",
    "train.gradient_checkpointing",
    "train.resume",
    "train.run_dir",
    "train.media_root",
    "train.watchdog_s",
    "train.max_loss_jump",
    "train.trackers",
    "train.plan",
    "train.flops_per_s",
    "train.samples_every",
    "train.samples",
    "train.data",
    "train.init_from",
    "train.after",
    "model.tokenizer",
    "data.workers",
    "data.max_bad_share",
)
"""Settings that a run may be continued with other values of. (Data and start are compared by what they come to.)"""

RECIPE_SECTIONS = {"model", "merging", "train", "data"}


def check_recipe(checkpoint: Path, recipe: Recipe, stage: str) -> None:
    """Check that a run goes on with the settings that it began with.

    Raises:
        UsageError: it does not; the message names every setting that differs.
        DataError: the checkpoint is damaged.
    """
    began = TrainState.read(checkpoint / RESUME_FOLDER / STATE_FILE).recipe
    # A setting that the run's version did not have yet was, so to speak, at its default.
    defaults = dict(flat(Settings().model_dump(mode="json", include=RECIPE_SECTIONS)))
    began = {path: defaults[path] for path in recipe.keys() & defaults.keys()} | dict(began)
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


def flat(tree: Mapping[str, JsonValue], prefix: str = "") -> Iterator[tuple[str, JsonValue]]:
    """A tree of settings by dotted path."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _shown(value: JsonValue) -> str:
    text = "unset" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
