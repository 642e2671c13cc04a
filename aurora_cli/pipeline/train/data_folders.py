"""The merged folders that a stage trains on, and those that it is measured on."""

from dataclasses import dataclass
from pathlib import Path

from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import VALIDATION, Workspace
from aurora_cli.data.token_store.folder import MERGED, SHARDS
from aurora_cli.data.token_store.store import open_store
from aurora_cli.errors import DataError, UsageError

FOUND, NOTHING = "auto", "none"
"""Words of `data.validation`: what lies in its place, and no folder."""


@dataclass(frozen=True)
class DataFolder:
    """One merged folder and its weight."""

    folder: Path
    weight: float
    rows: int


def find_data(settings: Settings, workspace: Workspace) -> tuple[DataFolder, ...]:
    """The merged folders of the stage, and that each can be read."""
    train = settings.train
    named = [split_weight(text) for text in train.data]
    folders = [(_merged_folder(name, workspace, train.stage), weight) for name, weight in named] or [
        (folder, 1.0) for folder in sorted(workspace.tokenized.glob(f"{train.stage}/*/merged")) if folder.is_dir()
    ]
    if not folders:
        raise DataError(
            f"{workspace.tokenized / train.stage}: has no merged shards to train on",
            hint=_way_to_data(workspace, train.stage),
        )
    for folder, _ in folders:
        if not folder.is_dir():
            raise DataError(
                f"{folder}: there is no such folder of merged shards", hint=_way_to_data(workspace, train.stage)
            )
    found = tuple(DataFolder(folder, weight, open_store(folder).num_rows) for folder, weight in folders)
    if not sum(folder.rows for folder in found):
        raise DataError(f"{', '.join(str(one.folder) for one in found)}: hold no samples")
    return found


def find_validation(
    settings: Settings, workspace: Workspace, trained: tuple[DataFolder, ...]
) -> tuple[DataFolder, ...]:
    """The merged folders that the stage is measured on, and that each can be read.

    Raises:
        UsageError: one of them is trained on, or is a file of annotations.
        DataError: one of them is not there, not merged, or damaged.
    """
    folders = [
        _merged_folder(name, workspace, settings.train.stage, "data.validation")
        for name in settings.data.validation
        if name not in (FOUND, NOTHING)
    ]
    if FOUND in settings.data.validation:
        folders += [one / MERGED for one in validation_folders(settings, workspace) if (one / MERGED).is_dir()]
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"data.validation: {folder}: there is no such folder of merged shards")
        if any(folder.samefile(one.folder) for one in trained):
            raise UsageError(
                f"data.validation: {folder} is trained on, too",
                hint="Leave it out of --data; or keep a share of it from training: --set data.validation_share=0.02",
            )
    return tuple(DataFolder(folder, 1.0, open_store(folder).num_rows) for folder in dict.fromkeys(folders))


def validation_folders(settings: Settings, workspace: Workspace) -> list[Path]:
    """The tokenized folders of what is kept from the stage's training, whether they are there yet or not."""
    stage = settings.train.stage
    named = (f"{file.parent.name}" for file in (workspace.validation / stage).glob("*/*.jsonl"))
    there = (shards.parent.name for shards in (workspace.tokenized / VALIDATION / stage).glob(f"*/{SHARDS}"))
    return [workspace.tokenized / VALIDATION / stage / name for name in sorted({*named, *there})]


def unmeasured(settings: Settings, workspace: Workspace) -> list[str]:
    """A line for each set of annotations that is kept from training and is not measured on, with what to type."""
    if FOUND not in settings.data.validation:
        return []
    lines = []
    for folder in validation_folders(settings, workspace):
        if not (folder / MERGED).is_dir():
            tokenize = "" if (folder / SHARDS).is_dir() else f"aurora tokenize --split {settings.train.stage} && "
            lines.append(
                f"{folder.relative_to(workspace.tokenized)}: is kept for validation and not measured on yet: "
                f"{tokenize}aurora merge-shards"
            )
    return lines


def _merged_folder(name: str, workspace: Workspace, stage: str, setting: str = "train.data") -> Path:
    """What `--data` or `data.validation` names: a merged folder, or the tokenized folder that it lies in.

    Raises:
        UsageError: it is a file of annotations.
        DataError: its shards are not merged.
    """
    path = workspace.path(name)
    if path.is_file():
        subset = path.name.split(".")[0]
        split = stage if setting == "train.data" else f"{VALIDATION}/{stage}"
        output = f"tokenized/{split}/{subset}"
        raise UsageError(
            f"{setting}: {name} is a file, and training reads merged shards",
            hint=f"aurora tokenize {name} --output {output} && aurora merge-shards {output}    (then "
            f"`aurora train --stage {stage}` finds them)",
        )
    if (path / SHARDS).is_dir():
        if not (path / MERGED).is_dir():
            raise DataError(f"{path}: its shards are not merged", hint=f"aurora merge-shards {name}")
        return path / MERGED
    return path


def _way_to_data(workspace: Workspace, stage: str) -> str:
    """The command that brings a stage's data nearest to being there, from what is there."""
    if any(workspace.tokenized.glob(f"{stage}/*/{SHARDS}")):
        return "Make them: aurora merge-shards"
    if any((workspace.data / stage).glob("*/*.json*")):
        return f"Make them: aurora tokenize --split {stage} && aurora merge-shards"
    train = f"aurora train --stage {stage}"
    if merged := sorted(workspace.tokenized.glob(f"*/*/{MERGED}")):
        data = " ".join(f"--data {workspace.relative(folder)}" for folder in merged)
        return f"Of other splits there is: {data}. To train on that: {train} {data}"
    if shards := sorted(workspace.tokenized.glob(f"*/*/{SHARDS}")):
        data = " ".join(f"--data {workspace.relative(folder.parent)}" for folder in shards)
        return f"Of other splits there are shards. To train on them: aurora merge-shards && {train} {data}"
    if subsets := sorted({file.parent for file in workspace.data.glob("*/*/*.json*")}):
        data = " ".join(f"--data tokenized/{folder.relative_to(workspace.data).as_posix()}" for folder in subsets)
        return (
            "Of other splits there are annotations. To train on them: aurora tokenize && aurora merge-shards && "
            f"{train} {data}"
        )
    return f"Begin with: aurora download --split {stage}; with data of your own: aurora import FOLDER --split {stage}"


def split_weight(text: str) -> tuple[str, float]:
    """`DIR:weight` as the user writes it.

    >>> split_weight("tokenized/vision/m3it/merged:0.5"), split_weight("some/folder")
    (('tokenized/vision/m3it/merged', 0.5), ('some/folder', 1.0))
    """
    folder, colon, last = text.rpartition(":")
    try:
        weight = float(last)
    except ValueError:
        return text, 1.0
    if not colon or not folder:
        return text, 1.0
    if not 0 < weight < float("inf"):
        raise UsageError(f"{text}: the weight behind the colon is {last}, a number above 0 was expected")
    return folder, weight
