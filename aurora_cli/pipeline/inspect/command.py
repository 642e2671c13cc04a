"""`aurora inspect`: look into what the other commands read and write. Changes nothing.

This module finds out what a path is; what reads such a thing is imported only for it.
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal, assert_never

from aurora_cli.config.settings import InspectSettings, Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.data.annotations.files import SUFFIXES, is_annotation_file
from aurora_cli.data.annotations.remedies import remedy_by_name
from aurora_cli.data.annotations.unread_files import no_annotations, unread_files
from aurora_cli.data.token_store.folder import COMPLETE, SHARDS, shard_manifests, tokenized_below
from aurora_cli.data.token_store.schema import MANIFEST, STATE_FILE
from aurora_cli.errors import DataError, UsageError
from aurora_cli.io.atomic import existing_parent
from aurora_cli.io.urls import is_url
from aurora_cli.pipeline.result import Result
from aurora_cli.runs.find import is_run

CHOICE = "Name a data folder, a JSONL, a tokenized folder or a run; without a name it is data/."

Kind = Literal["store", "shards", "stores", "run", "runs", "file", "data", "other"]
"""A shard or merged folder, a tokenized folder, a folder of those, a run, a folder of runs, an annotation file,
a data folder."""


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> Result:
    """Report on the thing at `inspect.path`, whatever it is; on `data/` when none is named."""
    workspace = Workspace(settings.workspace)
    path = workspace.data if settings.inspect.path is None else workspace.path(settings.inspect.path)
    if path.name == SHARDS and shard_manifests(path.parent):
        path = path.parent
    if not path.exists():
        raise DataError(
            f"{path}: there is nothing", hint=what_to_name(path, workspace) if path == workspace.data else CHOICE
        )
    kind = kind_of(path)
    check_flags(kind, path, settings.inspect)
    media_root = media_folder(workspace, settings.inspect.media_root)
    page = page_to_write(workspace, settings.inspect.html)
    match kind:
        case "store" | "shards":
            from aurora_cli.pipeline.inspect.store import all_shards, one_store
            from aurora_cli.pipeline.inspect.stores import inspect_store

            stores = one_store(path) if kind == "store" else all_shards(path)
            if media_root is not None:
                stores = stores._replace(media_root=str(media_root))
            return inspect_store(stores, settings, reporter, page, dry_run=dry_run)
        case "stores":
            from aurora_cli.pipeline.inspect.stores import inspect_stores

            return inspect_stores(path, tokenized_below(path), workspace)
        case "run":
            return inspect_training(path, workspace, page, dry_run=dry_run)
        case "runs":
            return inspect_trainings(path, workspace, page, dry_run=dry_run)
        case "file":
            from aurora_cli.pipeline.inspect.annotations import inspect_annotations

            return inspect_annotations(path, settings, media_root or train_media_root(settings, workspace))
        case "data":
            from aurora_cli.pipeline.inspect.data import inspect_data

            if media_root is None and settings.tokenize.media_root is not None:
                media_root = workspace.path(settings.tokenize.media_root)
            return inspect_data(path, settings, reporter, media_root)
        case "other":
            if path == workspace.data and (unread := unread_files(path)):
                raise no_annotations(path, unread)
            raise DataError(f"{path}: holds no annotations, no shards and no run", hint=what_to_name(path, workspace))
    assert_never(kind)


def train_media_root(settings: Settings, workspace: Workspace) -> Path | None:
    """Where training would look for media, if neither `inspect` nor `tokenize` has a folder of its own."""
    root = settings.train.media_root
    if root is None or settings.tokenize.media_root is not None:
        return None
    if is_url(root):
        raise UsageError(
            f"train.media_root: {root}: only training reads media in a bucket",
            hint="--media-root DIR names a folder of this machine to look in.",
        )
    return workspace.path(root)


def kind_of(path: Path) -> Kind:
    """
    Raises:
        UsageError: it is a file, and none of records.
    """
    if is_store(path):
        return "store"
    if (path / SHARDS).is_dir() or (path / COMPLETE).exists():
        return "shards"
    if is_run(path):
        return "run"
    if path.is_file():
        check_annotations(path)
        return "file"
    if tokenized_below(path):
        return "stores"
    if any(is_run(folder) for folder in path.iterdir() if folder.is_dir()):
        return "runs"
    return "data" if looks_like_data(path) else "other"


def is_store(path: Path) -> bool:
    return (path / MANIFEST).is_file() and (path / STATE_FILE).is_file()


def check_annotations(path: Path) -> None:
    if is_store(path.parent) or (path.parent / SHARDS).is_dir():
        raise UsageError(f"{path}: is a part of a token store", hint=f"aurora inspect {path.parent}")
    if not is_annotation_file(path):
        raise UsageError(
            f"{path}: is no annotation file; expected one of {', '.join(SUFFIXES)}, or a folder",
            hint=remedy_by_name(path),
        )


def looks_like_data(path: Path) -> bool:
    return any(is_annotation_file(file) for pattern in ("*", "*/*", "*/*/*") for file in path.glob(pattern))


def check_flags(kind: Kind, path: Path, step: InspectSettings) -> None:
    """
    Raises:
        UsageError: a setting says nothing about such a thing.
    """
    if step.shard is not None and not step.decode:
        raise UsageError("--shard: shares what is decoded, and nothing is", hint="aurora inspect --decode --shard 0/8")
    if step.decode and kind != "data":
        raise UsageError(f"inspect.decode: {path} is no data folder, and only the media of one can be decoded")
    if step.html is not None and kind not in ("store", "shards", "run", "runs"):
        folders = tokenized_below(path)
        hint = f"aurora inspect {folders[0]} --html {step.html}" if folders else "Name a tokenized folder."
        raise UsageError(f"inspect.html: {path} is no token store and no run, and reports are about those", hint=hint)
    if step.media_root is not None and kind in ("run", "runs", "stores"):
        raise UsageError(f"inspect.media_root: {path} names no media", hint="Name a tokenized folder, or annotations.")


def media_folder(workspace: Workspace, media_root: Path | None) -> Path | None:
    """
    Raises:
        UsageError: there is nothing at that path: all media would be missing.
    """
    if media_root is None:
        return None
    folder = workspace.path(media_root)
    if not folder.exists():
        raise UsageError(f"inspect.media_root: {folder}: there is nothing")
    return folder


def page_to_write(workspace: Workspace, html: Path | None) -> Path | None:
    """
    Raises:
        UsageError: no file can have that name.
    """
    if html is None:
        return None
    target = workspace.path(html)
    if target.is_dir():
        raise UsageError(
            f"inspect.html: {target} is a folder, where a file was expected", hint=f"--html {target}/report.html"
        )
    if not (above := existing_parent(target.parent)).is_dir():
        raise UsageError(f"inspect.html: {target} lies below {above}, which is no folder")
    return target


def inspect_training(path: Path, workspace: Workspace, page: Path | None, *, dry_run: bool) -> Result:
    """Report on a run, and write its page as it would look now if there is to be one."""
    from aurora_cli.pipeline.inspect.run import inspect_run

    report = inspect_run(path)
    if page is None:
        return report
    if not dry_run:
        from aurora_cli.reports.run import write_report

        write_report(path, workspace.root, page)
    return replace(report, html=str(page), planned=dry_run)


def inspect_trainings(path: Path, workspace: Workspace, page: Path | None, *, dry_run: bool) -> Result:
    """Report on a folder of runs, and write the page of all of them if there is to be one."""
    from aurora_cli.pipeline.inspect.run import inspect_runs

    report = inspect_runs(path)
    if page is None:
        return report
    if not dry_run:
        from aurora_cli.reports.stages import StagesReport

        StagesReport(path, workspace.root).write(page)
    return replace(report, html=str(page), planned=dry_run)


def what_to_name(path: Path, workspace: Workspace) -> str:
    if path == workspace.data:
        there = [folder for folder in (workspace.tokenized, workspace.runs) if folder.is_dir()]
        return "\n".join(f"aurora inspect {workspace.relative(folder)}" for folder in there) or "aurora download"
    parts = (workspace.data, workspace.tokenized, workspace.runs)
    inside = [path / part.name for part in parts if (path / part.name).is_dir()]
    return "\n".join(f"aurora inspect {folder}" for folder in inside) or CHOICE
