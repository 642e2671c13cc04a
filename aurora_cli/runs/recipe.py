"""Settings that a run may not change when it goes on."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aurora_cli.config.settings import Settings
from aurora_cli.errors import DataError, UsageError
from aurora_cli.io.atomic import read_json
from aurora_cli.runs.layout import RESUME_FOLDER, STATE_FILE

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


def check_recipe(checkpoint: Path, recipe: dict[str, Any], stage: str) -> None:
    """Raise UsageError if a run would go on with other settings than it began with."""
    try:
        began = read_json(checkpoint / RESUME_FOLDER / STATE_FILE)["recipe"]
    except (OSError, json.JSONDecodeError, KeyError) as error:
        raise DataError(
            f"{checkpoint}: is damaged: {error}", hint="Remove it: the run goes on from the one before."
        ) from None
    now = json.loads(json.dumps(recipe))
    # A setting that the run's version did not have yet was, so to speak, at its default.
    defaults = json.loads(json.dumps(dict(flat(Settings().model_dump(mode="json", include=RECIPE_SECTIONS)))))
    began = {path: defaults[path] for path in now.keys() & defaults.keys()} | began
    differing = sorted(path for path in began.keys() | now.keys() if began.get(path) != now.get(path))
    if differing:
        said = "; ".join(f"{path} was {_shown(began.get(path))}, is now {_shown(now.get(path))}" for path in differing)
        raise UsageError(
            f"{checkpoint}: stage {stage!r} was begun with other settings: {said}",
            hint="Set them back; or begin again with --resume never (which removes that run),"
            f" or elsewhere with --run-dir runs/{stage}-2.",
        )


def flat(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """A tree of settings by dotted path."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _shown(value: Any) -> str:
    text = "unset" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
