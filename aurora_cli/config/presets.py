"""Presets: a folder with `preset.yaml` (what all commands share) and a YAML file for each stage, or one file.

A workspace's own lie in its folder `presets`. One file of the same schema says a stage's own settings under
`stages: {vision: {...}}`; so do aurora.yaml and --config. A path that begins with `preset:` starts at the preset's
folder.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml

import aurora_cli
from aurora_cli.constants import STAGES
from aurora_cli.errors import SettingsError
from aurora_cli.io import yaml_files

COMMON_FILE = "preset.yaml"
OWN_PRESETS = "presets"
"""The workspace's folder of presets of its own."""

STAGES_KEY = "stages"
PRESET_PREFIX = "preset:"


SettingsTree: TypeAlias = dict[str, Any]
"""Settings as they are written: mappings from a name to a value or to the next mapping, not yet checked."""


@dataclass(frozen=True)
class Layer:
    """Settings as one source gives them."""

    source: str
    common: SettingsTree
    stages: dict[str, SettingsTree] = field(default_factory=dict)


def presets_folder() -> Path:
    """Inside the installed package, or beside it in a source tree."""
    package = Path(aurora_cli.__file__).parent
    installed = package / "presets"
    return installed if installed.is_dir() else package.parent / "presets"


def preset_names() -> list[str]:
    """Of those that are installed."""
    return sorted(path.parent.name for path in presets_folder().glob(f"*/{COMMON_FILE}"))


def own_presets(workspace: Path) -> dict[str, Path]:
    """The workspace's own, by name: folders like a preset, and YAML files."""
    folder = workspace / OWN_PRESETS
    found = {path.parent.name: path.parent for path in folder.glob(f"*/{COMMON_FILE}")}
    found |= {path.stem: path for path in folder.glob("*.yaml") if path.is_file()}
    return dict(sorted(found.items()))


def find_preset(name: str, workspace: Path) -> Path:
    """The folder or file of a preset: an installed one, one of the workspace's, or what is at that path.

    Raises:
        SettingsError: there is none of this name; the message lists those that are.
    """
    own = own_presets(workspace)
    folders = (presets_folder() / name, own.get(name, workspace / OWN_PRESETS / name), workspace / name)
    path = next((path for path in folders if (path / COMMON_FILE).is_file() or path.is_file()), None)
    if path is None or not name:
        raise SettingsError(
            f"preset: {name!r} is neither a preset ({', '.join([*preset_names(), *own])}) nor a file or folder like "
            "one",
            hint="`aurora presets` shows what there is.",
        )
    return path


def load_preset(name: str, workspace: Path) -> Layer:
    """A preset by name, or from a file or folder (relative to the workspace).

    Raises:
        SettingsError: there is none of this name; the message lists those that are.
    """
    path = find_preset(name, workspace)
    if path.is_file():
        return layer_of(path, f"preset {name}")
    files = sorted(path.glob("*.yaml"), key=stage_order)
    common = layer_of(path / COMMON_FILE, f"preset {name}")
    stages = {file.stem: _anchor(read_yaml(file), path) for file in files if file.name != COMMON_FILE}
    return Layer(common.source, common.common, {**common.stages, **stages})


def layer_of(path: Path, source: str) -> Layer:
    """The layer of one YAML file."""
    content = read_yaml(path)
    stages = content.pop(STAGES_KEY, None) or {}
    if not isinstance(stages, dict) or not all(isinstance(stage, dict) for stage in stages.values()):
        raise SettingsError(f"{STAGES_KEY} (from {source}): expected a mapping from stage to its settings")
    return Layer(source, _anchor(content, path.parent), {k: _anchor(v, path.parent) for k, v in stages.items()})


def read_yaml(path: Path) -> SettingsTree:
    """A mapping from a YAML file.

    Raises:
        SettingsError: not YAML, not a mapping, or a key stands in it twice.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such settings file") from None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not readable as YAML: {' '.join(str(error).split())}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"{path}: expected `key: value` lines, found {type(content).__name__}")
    return content


class _UniqueKeys(yaml_files.SafeLoader):
    """SafeLoader, but a key that stands twice in a mapping is an error, not the last one's silent win."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, str | int) and key in seen:
                raise yaml.MarkedYAMLError(problem=f"`{key}` stands twice", problem_mark=key_node.start_mark)
            if isinstance(key, str | int):
                seen.add(key)
        return super().construct_mapping(node, deep)


def _anchor(value: Any, folder: Path) -> Any:
    if isinstance(value, dict):
        return {key: _anchor(item, folder) for key, item in value.items()}
    if isinstance(value, str) and value.startswith(PRESET_PREFIX):
        return str((folder / value.removeprefix(PRESET_PREFIX)).resolve())
    return value


def stage_order(path: Path) -> tuple[int, str]:
    """What a preset's files are sorted by: what is common, the published stages in their order, others."""
    if path.name == COMMON_FILE:
        return -1, path.stem
    known = STAGES.index(path.stem) if path.stem in STAGES else len(STAGES)
    return known, path.stem
