"""`aurora inspect`: look into what the other commands read and write. Changes nothing."""

from pathlib import Path

from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.data.annotation_files import SUFFIXES
from aurora_cli.data.shards import MANIFEST
from aurora_cli.errors import DataError, UsageError
from aurora_cli.pipeline.inspect_annotations import inspect_annotations
from aurora_cli.pipeline.inspect_data import inspect_data
from aurora_cli.pipeline.inspect_run import RUN_FILES, inspect_run
from aurora_cli.pipeline.inspect_store import inspect_store, inspect_tokenized
from aurora_cli.pipeline.result import Result
from aurora_cli.pipeline.shard_folder import COMPLETE, SHARDS


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> Result:
    """Report on the thing at `inspect.path`, whatever it is; on `data/` when none is named."""
    workspace = Workspace(settings.workspace)
    path = workspace.data if settings.inspect.path is None else workspace.path(settings.inspect.path)
    if not path.exists():
        raise DataError(f"{path}: there is nothing", hint="aurora download" if path == workspace.data else None)
    if path.is_file():
        if not path.name.endswith(SUFFIXES):
            raise UsageError(f"{path}: is no annotation file; expected one of {', '.join(SUFFIXES)}, or a folder")
        return inspect_annotations(path, settings)
    if (path / MANIFEST).exists() and (path / "state.json").exists():
        return inspect_store(path, workspace)
    if (path / SHARDS).is_dir() or (path / COMPLETE).exists():
        return inspect_tokenized(path, workspace)
    if any((path / name).exists() for name in RUN_FILES):
        return inspect_run(path)
    if looks_like_data(path):
        return inspect_data(path, settings, reporter)
    raise DataError(
        f"{path}: holds no annotations, no shards and no run",
        hint="aurora download"
        if path == workspace.data
        else "Name a data folder, a JSONL, a tokenized folder or a run.",
    )


def looks_like_data(path: Path) -> bool:
    return any(file.name.endswith(SUFFIXES) for pattern in ("*", "*/*", "*/*/*") for file in path.glob(pattern))
