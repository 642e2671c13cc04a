"""The folder that holds a run's checkpoints: names, which is the newest or the best, which go."""

import contextlib
from pathlib import Path

from aurora_cli.errors import DataError
from aurora_cli.io.atomic import remove, write_text
from aurora_cli.runs.layout import BEST, CHECKPOINTS, LATEST, METADATA_FILE
from aurora_cli.runs.metadata import CheckpointMetadata, ValidationScore


def checkpoint_name(step: int) -> str:
    return f"step-{step:08d}"


def all_checkpoints(folder: Path) -> list[Path]:
    """The whole checkpoints in `folder`, oldest first."""
    return sorted(path for path in folder.glob("step-*") if (path / METADATA_FILE).is_file())


def newest(folder: Path) -> Path | None:
    """The checkpoint that `latest` names, else the one of the highest step."""
    with contextlib.suppress(FileNotFoundError):
        named = folder / (folder / LATEST).read_text(encoding="utf-8").strip()
        if (named / METADATA_FILE).is_file():
            return named
    existing = all_checkpoints(folder)
    return existing[-1] if existing else None


def best(folder: Path) -> tuple[Path, ValidationScore] | None:
    """The checkpoint with the lowest validation loss, the first of equals, and what it came to; none: nothing was
    measured. Only those count that were measured on as many target tokens as the last that was."""
    measured = [(path, score) for path in all_checkpoints(folder) if (score := _score(path)) is not None]
    alike = [(path, score) for path, score in measured if score.target_tokens == measured[-1][1].target_tokens]
    return min(alike, key=lambda one: one[1].loss, default=None)


def _score(checkpoint: Path) -> ValidationScore | None:
    """What it came to; none: nothing was measured, or its description is damaged, which who opens it is told."""
    with contextlib.suppress(DataError):
        return CheckpointMetadata.read(checkpoint / METADATA_FILE).validation
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
        write_text(folder / BEST, top[0].name + "\n")
    for path in all_checkpoints(folder)[:-keep]:
        if top is not None and path == top[0]:
            continue
        doomed = path.with_name(f".{path.name}.old")  # a half-removed checkpoint must not look like one
        path.replace(doomed)
        remove(doomed)
    for leftover in folder.glob(".step-*.old"):
        remove(leftover)
