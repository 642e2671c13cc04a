"""The folder that holds a run's checkpoints: names, which is the newest or the best, which go."""

import contextlib
from pathlib import Path
from typing import NamedTuple

from aurora_cli.config.training import KeepBest
from aurora_cli.errors import DataError
from aurora_cli.io.atomic import remove, write_text
from aurora_cli.runs.layout import BEST, CHECKPOINTS, LATEST, METADATA_FILE
from aurora_cli.runs.lines import CAPTION_SCORES
from aurora_cli.runs.metadata import CheckpointMetadata

HIGHER_IS_BETTER: frozenset[KeepBest] = frozenset(["cider", "bleu_4", "rouge_l"])


def checkpoint_name(step: int) -> str:
    return f"step-{step:08d}"


def all_checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints in `folder`, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / METADATA_FILE).is_file())


def newest(folder: Path) -> Path | None:
    """The checkpoint that `latest` names, else the one of the highest step."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        named = folder / (folder / LATEST).read_text(encoding="utf-8").strip()
        if (named / METADATA_FILE).is_file():
            return named
    existing = all_checkpoints(folder)
    return existing[-1] if existing else None


class Best(NamedTuple):
    """The best checkpoint of a run, and what it is known by."""

    checkpoint: Path
    metric: KeepBest
    value: float

    def __str__(self) -> str:
        """
        >>> str(Best(Path("step-00000002"), "cider", 0.5))
        'highest CIDEr-D 0.5000'
        """
        which = "highest" if self.metric in HIGHER_IS_BETTER else "lowest"
        return f"{which} {CAPTION_SCORES.get(self.metric, self.metric.replace('_', ' '))} {self.value:.4f}"


def best(folder: Path) -> Best | None:
    """The checkpoint that is best by what the newest goes by, the first of equals; none: that was not measured. Only
    those count that were measured on as many target tokens, or captions, as the last that was."""
    found = [(path, metadata) for path in all_checkpoints(folder) if (metadata := _metadata(path)) is not None]
    if not found:
        return None
    metric = found[-1][1].keep_best
    measured = [(path, score) for path, metadata in found if (score := metadata.score(metric)) is not None]
    alike = [Best(path, metric, score.value) for path, score in measured if score.over == measured[-1][1].over]
    sign = -1 if metric in HIGHER_IS_BETTER else 1
    return min(alike, key=lambda one: sign * one.value, default=None)


def _metadata(checkpoint: Path) -> CheckpointMetadata | None:
    """None: its description is damaged, which who opens it is told."""
    with contextlib.suppress(DataError):
        return CheckpointMetadata.read(checkpoint / METADATA_FILE)
    return None


def pointed(path: Path) -> Path:
    """The checkpoint that `checkpoints/latest` or `checkpoints/best` names; any other path is itself."""
    if path.name in (LATEST, BEST) and path.parent.name == CHECKPOINTS and path.is_file():
        return path.parent / path.read_text(encoding="utf-8").strip()
    return path


def prune(folder: Path, keep: int) -> None:
    """Remove all but the `keep` newest checkpoints and the best, and name the best."""
    top = best(folder)
    if top is None:
        remove(folder / BEST)
    else:
        write_text(folder / BEST, top.checkpoint.name + "\n")
    for path in all_checkpoints(folder)[:-keep]:
        if top is not None and path == top.checkpoint:
            continue
        doomed = path.with_name(f".{path.name}.old")  # a half-removed checkpoint must not look like one
        path.replace(doomed)
        remove(doomed)
    for leftover in folder.glob(".step-*.old"):
        remove(leftover)
