"""The files of a preset of one's own: a copy, or what the settings come to with other parts, each with its reason."""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import TypeAlias

import yaml

from aurora_cli.config import fields
from aurora_cli.config.presets import COMMON_FILE, SettingsTree, load_preset
from aurora_cli.config.resolve import Resolved, each_stage
from aurora_cli.errors import SettingsError, UsageError
from aurora_cli.pipeline import own_parts
from aurora_cli.pipeline.own_parts import (
    CONFIGS,
    LANGUAGE_MODEL,
    MAX_LENGTH,
    PACK_TOKENS,
    PIXELS,
    TEMPLATE,
    TOKENIZER,
    OwnSettings,
)

Files: TypeAlias = dict[str, bytes]
"""By their path in the preset's folder."""

LINE = 120
ORDER = {"vision_tower": 0, "vision_config": 0, "language_model": 1, "text_config": 1, "tokenizer": 2}
"""Parts come before what follows from them."""


def copied_files(path: Path) -> Files:
    """The files of a preset; of one that is a file, that one."""
    if path.is_file():
        return {COMMON_FILE: path.read_bytes()}
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def new_files(name: str, resolved: Resolved) -> tuple[Files, list[str]]:
    """The preset's files, and lines on what was decided.

    Raises:
        UsageError: the preset that it begins with has no stages, or the language model is of no kind that is read.
    """
    base = resolved.settings.preset
    layer = load_preset(base, resolved.settings.workspace)
    stages = {one.settings.train.stage: _own(one) for one in each_stage(resolved)}
    if not stages:
        raise UsageError(f"presets: {base} has no stages to begin with", hint="--preset NAME begins with another one")
    first = next(iter(stages.values()))
    _check_language_model(first)
    common, reasons = deepcopy(layer.common), {}
    for path, row in first.rows.items():
        if path != PACK_TOKENS:
            _put(common, path, first.value(path))
            reasons[path] = row.source
    for config in (*CONFIGS.values(), TOKENIZER):
        if first.value(config) is None:
            _remove(common, config)
    if all(PACK_TOKENS in own.rows for own in stages.values()):
        _remove(common, PACK_TOKENS)
    common["model"] = dict(sorted((common.get("model") or {}).items(), key=lambda item: ORDER.get(item[0], 9)))
    files = {COMMON_FILE: _text(f"{name}: what its stages share. Begun with the preset {base}.", common, reasons)}
    for stage, own in stages.items():
        tree = {"train": {"stage": stage}, **deepcopy(layer.stages.get(stage, {}))}
        row = own.rows.get(PACK_TOKENS)
        if row is not None:
            _put(tree, PACK_TOKENS, own.value(PACK_TOKENS))
        title = f"Stage {stage}.\naurora train --preset {name} --stage {stage}"
        files[f"{stage}.yaml"] = _text(title, tree, {} if row is None else {PACK_TOKENS: row.source})
    return files, first.lines()


def _own(resolved: Resolved) -> OwnSettings:
    """A stage's settings, as they are where nothing has been trained or tokenized yet."""
    own = own_parts.with_parts(resolved)
    own_parts.check_both(own)
    own_parts.take_text(own)
    tower = own_parts.take_pixels(own)
    try:
        own_parts.take_packs(own, tower)
    except SettingsError as error:  # of merging, which each stage does in its own way
        raise SettingsError(f"stage {resolved.settings.train.stage!r}: {error.message}", hint=error.hint) from error
    for path in (*PIXELS, TEMPLATE, MAX_LENGTH):
        if path not in own.rows:
            own.show(path)
    return own


def _check_language_model(own: OwnSettings) -> None:
    """Before anything is tokenized for it: `train` would refuse it too.

    Raises:
        UsageError: it is of another kind than those that are read.
    """
    from aurora_cli.models.supported import check_language_model

    if (name := own.value(LANGUAGE_MODEL)) is not None:
        check_language_model(str(name), own_parts.language_config(own))


def _put(tree: SettingsTree, path: str, value: object) -> None:
    section, _, name = path.partition(".")
    tree[section] = {**(tree.get(section) or {}), name: list(value) if isinstance(value, tuple) else value}


def _remove(tree: SettingsTree, path: str) -> None:
    section, _, name = path.partition(".")
    if isinstance(tree.get(section), dict):
        tree[section].pop(name, None)


def _text(title: str, tree: SettingsTree, reasons: Mapping[str, str]) -> bytes:
    lines = [f"# {line}" for line in title.split("\n")]
    return "\n".join([*lines, *_lines(tree, reasons), ""]).encode()


def _lines(tree: SettingsTree, reasons: Mapping[str, str], prefix: str = "") -> list[str]:
    """Settings as YAML, each setting with a comment: where it comes from, or what it is."""
    depth = "  " * prefix.count(".")
    lines: list[str] = []
    for key, value in tree.items():
        path = f"{prefix}{key}"
        known = path in fields.by_path()
        if isinstance(value, dict) and value and not known:
            lines += [f"{depth}{key}:", *_lines(value, reasons, f"{path}.")]
            continue
        comment = reasons.get(path) or (fields.lookup(path).help if known else "")
        flow = None if isinstance(value, dict | list) else False  # of a mapping of scalars, None would make `{a: 1}`
        text = yaml.safe_dump({key: value}, default_flow_style=flow, sort_keys=False, allow_unicode=True, width=LINE)
        written = [f"{depth}{line}" for line in text.rstrip("\n").split("\n")]
        if len(written) == 1 and comment and len(written[0]) + len(comment) + 4 <= LINE:
            lines.append(f"{written[0]}  # {comment}")
        else:
            lines += [*([f"{depth}# {comment}"] if comment else []), *written]
    return lines
