"""Checkpoints in a bucket: below a folder's URL, one a step. One is whole once its description is there, put last."""

from collections.abc import Collection
from pathlib import Path

from aurora_cli.console import SILENT, Reporter
from aurora_cli.errors import DataError
from aurora_cli.io.urls import join
from aurora_cli.runs.layout import METADATA_FILE
from aurora_cli.storage.copies import local_folder
from aurora_cli.storage.errors import shown
from aurora_cli.storage.objects import list_objects, put, remove


def put_checkpoint(checkpoint: Path, url: str) -> None:
    """Copy a checkpoint into the folder `url`.

    Raises:
        HostError: the store cannot be reached, or does not take it.
    """
    files = [path for path in checkpoint.rglob("*") if path.is_file() and path != checkpoint / METADATA_FILE]
    remove(join(url, f"{checkpoint.name}/{METADATA_FILE}"))
    for file in [*sorted(files), checkpoint / METADATA_FILE]:
        put(file, join(url, f"{checkpoint.name}/{file.relative_to(checkpoint).as_posix()}"))


def prune_stored(url: str, keep: int, others: Collection[str]) -> None:
    """Remove all checkpoints but the `keep` newest and `others`; what is half removed is not whole."""
    found = list_objects(url)
    for step in _steps(found)[:-keep]:
        if step not in others:
            of_step = [name for name in found if name.startswith(f"{step}/")]
            for name in sorted(of_step, key=lambda name: name != f"{step}/{METADATA_FILE}"):
                remove(join(url, name))


def fetch_checkpoint(url: str, reporter: Reporter = SILENT) -> Path:
    """A checkpoint, or the newest whole one in a folder of them, as a folder of this machine.

    Raises:
        DataError: there is none.
        HostError: the store cannot be reached.
    """
    found = list_objects(url)
    if METADATA_FILE in found:
        return local_folder(url, reporter=reporter)
    steps = _steps(found)
    if not steps:
        raise DataError(
            f"{shown(url)}: has no whole checkpoint",
            hint="Name a checkpoint, or what `checkpoint.copy_to` is, with the stage: s3://bucket/copies/language",
        )
    return local_folder(join(url, steps[-1]), reporter=reporter)


def _steps(names: Collection[str]) -> list[str]:
    """Of whole checkpoints, oldest first."""
    whole = (name.rpartition("/")[0] for name in names if name.endswith(f"/{METADATA_FILE}"))
    return sorted(step for step in whole if step.startswith("step-") and "/" not in step)
