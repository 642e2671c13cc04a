"""The merged folders that a stage trains on."""

from dataclasses import dataclass
from pathlib import Path

from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.data.token_store.store import open_store
from aurora_cli.errors import DataError, UsageError


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
    folders = [(workspace.path(name), weight) for name, weight in named] or [
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


def _way_to_data(workspace: Workspace, stage: str) -> str:
    """The command that brings a stage's data nearest to being there."""
    if any(workspace.tokenized.glob(f"{stage}/*/shards")):
        return "Make them: aurora merge-shards"
    if any((workspace.data / stage).glob("*/*.json*")):
        return f"Make them: aurora tokenize --split {stage} && aurora merge-shards"
    return f"Begin with: aurora download --split {stage}"


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
