"""What nobody says of a run that goes on: a preset's values as they were when it began.

A newer aurora may come with other values in a preset. A run that was begun with the former ones goes on with them, for
nobody asked for others; what somebody says, in a file, a variable or a flag, is compared as ever.
"""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import JsonValue

from aurora_cli.config.presets import preset_names
from aurora_cli.config.resolve import PRESET
from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.errors import AuroraError
from aurora_cli.io import yaml_files
from aurora_cli.io.json_files import JsonObject
from aurora_cli.pipeline.own_parts import OwnSettings
from aurora_cli.pipeline.train.plan import find_resume, run_folder
from aurora_cli.runs.layout import CONFIG_FILE, RESUME_FOLDER, STATE_FILE
from aurora_cli.runs.metadata import TrainState
from aurora_cli.runs.recipe import recipe_of, with_defaults

SECTIONS = ("merging", "train", "data")
"""What of the network is as the run began comes from its checkpoint."""


def take_as_begun(own: OwnSettings) -> None:
    """Set what only the preset or a default says to what the run that goes on began with."""
    settings = own.settings
    run_dir = run_folder(settings)
    with contextlib.suppress(AuroraError, ValueError):  # said by the plan; values of another version may not be values
        resume = find_resume(settings, Workspace(settings.workspace), run_dir)
        if settings.train.resume != "auto" or resume is None or not _is_of_preset(run_dir, settings.preset):
            return
        state = resume / RESUME_FOLDER / STATE_FILE
        began = _settings_of(with_defaults(TrainState.read(state).recipe))
        now = _settings_of(recipe_of(settings))
        others = [
            path
            for path in began.keys() | now.keys()
            if began.get(path) != now.get(path) and own.resolved.rank(path) <= PRESET
        ]
        tree = settings.model_dump(mode="json")
        for path in others:
            section, name = path.split(".")
            tree[section][name] = began.get(path)
        checked = Settings(**tree)
        for path in sorted(others):
            section, name = path.split(".")
            own.put(path, getattr(getattr(checked, section), name), str(state))


def _is_of_preset(run_dir: Path, preset: str) -> bool:
    """Whether the run was begun under this preset, which comes with aurora: who changes a preset of his own asks for
    its values."""
    if preset not in preset_names() or not (run_dir / CONFIG_FILE).is_file():
        return False
    config = yaml_files.safe_load((run_dir / CONFIG_FILE).read_text(encoding="utf-8"))
    return isinstance(config, dict) and config.get("preset") == preset


def _settings_of(recipe: Mapping[str, JsonValue]) -> JsonObject:
    """The values of `section.name`, those of deeper paths as trees."""
    found: dict[str, Any] = {}
    for path, value in recipe.items():
        section, *steps = path.split(".")
        if section not in SECTIONS or not steps or steps == ["stage"]:
            continue
        name, *deeper = steps
        if not deeper:
            found[f"{section}.{name}"] = value
            continue
        holder = found.setdefault(f"{section}.{name}", {})
        for step in deeper[:-1]:
            holder = holder.setdefault(step, {})
        holder[deeper[-1]] = value
    return found
