"""The folder that holds a run's checkpoints: names, which is the newest, which go."""

import contextlib
from pathlib import Path

from aurora_cli.io.atomic import remove
from aurora_cli.runs.layout import LATEST, METADATA_FILE


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


def prune(folder: Path, keep: int) -> None:
    """Remove all but the `keep` newest checkpoints."""
    for path in all_checkpoints(folder)[:-keep]:
        doomed = path.with_name(f".{path.name}.old")  # a half-removed checkpoint must not look like one
        path.replace(doomed)
        remove(doomed)
    for leftover in folder.glob(".step-*.old"):
        remove(leftover)
