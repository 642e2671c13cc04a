"""From all sources to one checked tree: --set > flag > AURORA_* > --config > aurora.yaml > preset > default.

Each source gives a nested mapping; they are merged key by key, remembering which source a value came from, and
checked once, so that an error can say where the wrong value stands.
"""

import copy
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from aurora_cli.config import fields
from aurora_cli.config.merging import TAGS
from aurora_cli.config.presets import Layer, SettingsTree, layer_of, load_preset
from aurora_cli.config.section import Section
from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import check_folder
from aurora_cli.constants import ALL_STAGES, SETTINGS_FILE
from aurora_cli.errors import SettingsError
from aurora_cli.io import yaml_files
from aurora_cli.io.urls import scheme_of

ENV_PREFIX = "AURORA_"
KEY_SUFFIX = "_KEY"
"""Of variables with secrets, which commands read themselves: no settings, and shown in no message about settings."""
NOBODY, PRESET = -1, 0
"""Ranks of a default, and of the preset."""
KEPT_RATIO = "merging.kept_ratio"
KEPT_RATIO_NAMES = ("token_kept_ratio", "visual_token_merge_ratio")
KEPT_RATIO_SECTIONS = ("", "merging", "model", "train")

RENAMED = {"demo.pictures": "demo.images", "demo.clips": "demo.videos"}
"""Settings of earlier versions, by dotted path: read under their old names, written under the new ones."""


@dataclass(frozen=True)
class Resolved:
    """The checked settings, and for each given dotted path the source that won."""

    settings: Settings
    origins: Mapping[str, str]
    ranks: Mapping[str, int] = field(default_factory=dict)
    """How high the source of each stands: 0 the preset, above it the files and what was typed."""
    layers: tuple[Layer, ...] = ()
    """The sources, lowest first."""

    def rank(self, path: str) -> int:
        """How high stands who said a setting, or anything in a section; -1: nobody did."""
        return max((rank for known, rank in self.ranks.items() if f"{known}.".startswith(f"{path}.")), default=NOBODY)

    def origin(self, path: str) -> str:
        """Who said a setting, in words."""
        return _origin(path, self.origins) or "default"


def resolve(
    flags: Mapping[str, tuple[str, Any]] | None = None,
    sets: Iterable[str] = (),
    config: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Resolved:
    """Merge all sources and check the result.

    Args:
        flags: dotted path -> (the flag as typed, its value), for the flags that were given.
        sets: `key=value` of `--set`, in order; the last of a key wins.
        config: a settings file; relative to the current folder, as the user typed it.
        environment: `os.environ` if not given.

    Raises:
        UsageError: the workspace is no folder.
        SettingsError: anything that is not right, every finding with path, value, source and what is allowed.
    """
    typed = [
        *_environment_layers(os.environ if environment is None else environment),
        *(_path_layer(path, value, name) for path, (name, value) in (flags or {}).items()),
        *(_set_layer(assignment) for assignment in sets),
    ]
    workspace = _workspace(str(_last(typed, "workspace", Settings.model_fields["workspace"].default)))
    files = []
    if (workspace / SETTINGS_FILE).is_file():
        files.append(layer_of(workspace / SETTINGS_FILE, SETTINGS_FILE))
    if config is not None:
        files.append(layer_of(config, str(config)))
    above = [*files, *typed]
    preset = load_preset(str(_last(above, "preset", Settings.model_fields["preset"].default)), workspace)
    layers = [preset, *above]
    return _merged(layers, _stage(layers), workspace)


def _workspace(given: str) -> Path:
    """
    Raises:
        UsageError: it is a URL, or a file.
    """
    if scheme_of(given) is not None:
        raise SettingsError(f"workspace: {given}: is a URL, and a folder of this machine was expected")
    check_folder(Path(given), "workspace")
    return Path(given)


def each_stage(resolved: Resolved) -> tuple[Resolved, ...]:
    """The same sources as they stand for each stage of the preset, in order.

    Raises:
        SettingsError: a setting of one of them is wrong.
    """
    layers = resolved.layers
    return tuple(_merged(layers, stage, resolved.settings.workspace) for stage in _stages(layers))


def _merged(layers: Sequence[Layer], stage: str, workspace: Path) -> Resolved:
    """The layers as they stand for one stage."""
    tree: SettingsTree = {}
    origins: dict[str, str] = {}
    ranks: dict[str, int] = {}
    for rank, layer in enumerate(layers):
        for part, source in ((layer.common, layer.source), (layer.stages.get(stage, {}), f"{layer.source}, {stage}")):
            own: dict[str, str] = {}
            _merge(tree, _canonical(part), source, own)
            for known in (origins, ranks):
                _forget_replaced(known, own)
            origins |= own
            ranks |= dict.fromkeys(own, rank)
    tree["workspace"] = str(workspace)
    tree.setdefault("train", {})
    if isinstance(tree["train"], dict):
        tree["train"]["stage"] = stage
    try:
        settings = Settings(**tree)
    except ValidationError as error:
        raise SettingsError("\n".join(_explain(error, origins))) from None
    _forget_preset(settings, ranks)
    return Resolved(settings, origins, ranks, tuple(layers))


def _forget_replaced(known: dict[str, Any], by: Mapping[str, str]) -> None:
    """Take away what is said of values that lie in, or around, those that took their place."""
    for path in [*known]:
        if any(f"{one}.".startswith(f"{other}.") for new in by for one, other in ((path, new), (new, path))):
            del known[path]


def _forget_preset(settings: Settings, ranks: Mapping[str, int]) -> None:
    """Leave in `model_fields_set` of each section what users said themselves: presets say nearly everything."""
    for path, rank in ranks.items():
        *sections, name = path.split(".")
        holder: object = settings
        for section in sections:
            holder = getattr(holder, section, None)
        if rank == PRESET and isinstance(holder, Section):
            holder.model_fields_set.discard(name)


def load_resolved(path: Path) -> Settings:
    """The settings of a finished or running step, from the `config.yaml` it left."""
    content = yaml_files.safe_load(path.read_text(encoding="utf-8"))
    try:
        return Settings(**_canonical(content))
    except ValidationError as error:
        raise SettingsError(f"{path}:\n" + "\n".join(_explain(error, {}))) from None


def dump_yaml(settings: Settings) -> str:
    """The whole tree as YAML that `load_resolved` reads."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _stages(layers: Sequence[Layer]) -> list[str]:
    return list(dict.fromkeys(stage for layer in layers for stage in layer.stages))


def _stage(layers: list[Layer]) -> str:
    known = _stages(layers)
    default = known[0] if known else fields.lookup("train.stage").default
    stage = str(_last(layers, "train.stage", default))
    if stage == ALL_STAGES and not known:
        raise SettingsError(f"train.stage: {stage}, and the preset has no stages: they stand under `stages:`")
    if known and stage not in (*known, ALL_STAGES):
        source = next(layer.source for layer in reversed(layers) if _get(layer.common, "train.stage") is not None)
        raise SettingsError(
            f"train.stage: {stage!r} (from {source}) is not a stage of this preset: one of "
            f"{', '.join(known)}, {ALL_STAGES}"
        )
    return stage


def _environment_layers(environment: Mapping[str, str]) -> list[Layer]:
    layers = []
    for name in sorted(environment):
        if not name.startswith(ENV_PREFIX):
            continue
        path = name.removeprefix(ENV_PREFIX).lower().replace("__", ".")
        if name.endswith(KEY_SUFFIX) and path not in fields.by_path():
            continue
        layers.append(_path_layer(path, environment[name], f"environment variable {name}"))
    return layers


def _set_layer(assignment: str) -> Layer:
    path, equals, value = assignment.partition("=")
    if not equals or not path.strip():
        raise SettingsError(f"--set {assignment}: expected key=value, like --set train.epochs=2")
    return _path_layer(path.strip(), value, "--set")


def _path_layer(path: str, value: Any, source: str) -> Layer:
    """One value at a dotted path. Words stay words (the type decides); inside free mappings they are read as YAML."""
    if isinstance(value, str):
        declared = path in fields.by_path() or _alias(path) in fields.by_path()
        structured = value[:1] in "[{" or value.lower() in ("null", "~") or value == ""
        if structured or not declared:
            try:
                value = yaml_files.safe_load(value)
            except yaml.YAMLError:
                raise SettingsError(f"{path}: {value!r} (from {source}) is not readable as YAML") from None
    return Layer(source, reduce(lambda nested, key: _Path({key: nested}), reversed(path.split(".")), value))


class _Path(dict[str, Any]):
    """A mapping on the way to a value: unlike one that is a value, it says nothing of what else there is."""


def _alias(path: str) -> str:
    section, _, name = path.rpartition(".")
    return KEPT_RATIO if name in KEPT_RATIO_NAMES and section in KEPT_RATIO_SECTIONS else RENAMED.get(path, path)


def _canonical(tree: SettingsTree) -> SettingsTree:
    """The tree with other and earlier names of settings moved to the names that they have."""
    tree = {key: copy.copy(value) if isinstance(value, dict) else value for key, value in tree.items()}
    for section in KEPT_RATIO_SECTIONS:
        holder = tree.get(section) if section else tree
        if not isinstance(holder, dict):
            continue
        for name in KEPT_RATIO_NAMES:
            if name in holder:
                value = holder.pop(name)
                tree["merging"] = {**(tree.get("merging") or {}), "kept_ratio": value}
    for old, new in RENAMED.items():
        (section, name), (new_section, new_name) = old.split("."), new.split(".")
        if isinstance(tree.get(section), dict) and name in tree[section]:
            value = tree[section].pop(name)
            tree[new_section] = {**(tree.get(new_section) or {}), new_name: value}
    return tree


def _merge(into: SettingsTree, tree: Mapping[str, Any], source: str, origins: dict[str, str], prefix: str = "") -> None:
    for key, value in tree.items():
        path = f"{prefix}{key}"
        # A mixture is one value: another's ratios are not the ones that these weights are of.
        is_value = path == KEPT_RATIO and not isinstance(value, _Path)
        if isinstance(value, dict) and not is_value:
            if not isinstance(into.get(key), dict):
                into[key] = {}
            _merge(into[key], value, source, origins, f"{path}.")
        else:
            into[key] = copy.copy(value)
            origins[path] = source


def _get(tree: Mapping[str, Any], path: str) -> Any:
    node: Any = tree
    for key in path.split("."):
        if not isinstance(node, Mapping) or key not in node:
            return None
        node = node[key]
    return node


def _last(layers: list[Layer], path: str, default: Any) -> Any:
    for layer in reversed(layers):
        value = _get(layer.common, path)
        if value is not None:
            return value
    return default


def _explain(error: ValidationError, origins: Mapping[str, str]) -> list[str]:
    lines = []
    findings = error.errors(include_url=False)
    for finding in findings:
        if finding["type"] == "too_short" and any(_is_inside(other["loc"], finding["loc"]) for other in findings):
            continue  # pydantic counts the items that are right
        path = ".".join(str(part) for part in finding["loc"] if part not in TAGS)
        setting = _nearest_setting(path)
        source = _origin(path, origins)
        came = f" (from {source})" if source else ""
        value = finding["input"]
        if finding["type"] == "extra_forbidden":
            path = _first_leaf(path, value)
            guess = fields.near(path)
            lines.append(f"{path}{came}: there is no such setting" + (f"; did you mean {guess}?" if guess else ""))
        elif finding["type"] == "missing":
            lines.append(f"{path}: must be given{came}")
        elif finding["type"] == "value_error":
            lines.append(f"{path}: {value!r}{came} is not allowed: {finding['ctx']['error']}")
        elif setting is not None and setting.many and path != setting.path:  # one item of a list
            lines.append(f"{path}: {value!r}{came} is not allowed: {_say(setting.item, finding['msg'])}")
        else:
            of_it = setting if setting and path == setting.path else None
            lines.append(f"{path}: {value!r}{came} is not allowed: {_say(of_it, finding['msg'])}")
    return lines


def _say(setting: fields.Setting | None, otherwise: str) -> str:
    """What is expected of a value."""
    if setting is None:
        return f"expected {otherwise.removeprefix('Input should be ')}"
    if setting.choices or not setting.allowed:
        return f"expected {setting.allowed or setting.kind}"
    return f"expected {setting.kind}, {setting.allowed}" + (", or null" if setting.nullable else "")


def _is_inside(loc: tuple[int | str, ...], of: tuple[int | str, ...]) -> bool:
    return len(loc) > len(of) and loc[: len(of)] == of


def _first_leaf(path: str, value: Any) -> str:
    while isinstance(value, dict) and value:
        key, value = next(iter(value.items()))
        path = f"{path}.{key}"
    return path


def _nearest_setting(path: str) -> fields.Setting | None:
    while path:
        known = fields.by_path().get(path) or fields.inside().get(path)
        if known is not None:
            return known
        path = path.rpartition(".")[0]
    return None


def _origin(path: str, origins: Mapping[str, str]) -> str | None:
    candidate = path
    while candidate:
        if candidate in origins:
            return origins[candidate]
        candidate = candidate.rpartition(".")[0]
    inside = [source for known, source in origins.items() if known.startswith(f"{path}.")]
    return inside[-1] if inside else None
