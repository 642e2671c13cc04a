"""`aurora inspect`: look into what the other commands read and write. Changes nothing."""

from dataclasses import dataclass, replace
from pathlib import Path

from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.data.annotations.files import SUFFIXES, is_annotation_file
from aurora_cli.data.token_store.folder import COMPLETE, SHARDS, shard_manifests, tokenized_below
from aurora_cli.data.token_store.schema import MANIFEST, STATE_FILE
from aurora_cli.errors import DataError, UsageError
from aurora_cli.io.atomic import existing_parent, write_text
from aurora_cli.pipeline.inspect.annotations import inspect_annotations
from aurora_cli.pipeline.inspect.data import inspect_data
from aurora_cli.pipeline.inspect.row_cards import PageRow
from aurora_cli.pipeline.inspect.run import RunReport, inspect_run
from aurora_cli.pipeline.inspect.store import StoreReport, Stores, all_shards, one_store, report_on
from aurora_cli.pipeline.inspect.store_numbers import StoreNumbers
from aurora_cli.pipeline.inspect.store_page import store_page
from aurora_cli.pipeline.inspect.thumbnails import Thumbnails
from aurora_cli.pipeline.result import Result
from aurora_cli.reports.run import write_report
from aurora_cli.runs.find import is_run

SAMPLES, SAMPLES_IN_HTML = 1, 12
CHOICE = "Name a data folder, a JSONL, a tokenized folder or a run; without a name it is data/."


@dataclass(frozen=True)
class StoresReport(Result):
    """What `aurora inspect` found in a folder of several tokenized ones."""

    path: str
    stores: tuple[StoreReport, ...]
    begun: tuple[str, ...]
    """Folders without a whole shard yet."""

    def lines(self) -> list[str]:
        lines = [f"{self.path}: tokenized folders: {len(self.stores)}"]
        for store in self.stores:
            rejected = sum(store.rejected.values())
            state = "" if store.complete else ", not complete"
            lines.append(
                f"  {store.path}: {store.rows:,} rows of {store.read:,} records, {store.tokens:,} tokens, "
                f"{store.target_share:.1%} taught, {store.media:,} images and videos, {rejected:,} rejected{state}"
            )
        lines += [f"  {folder}: no whole shard yet" for folder in self.begun]
        lines += [f"aurora inspect {store.path} shows more of it." for store in self.stores[:1]]
        return lines


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> Result:
    """Report on the thing at `inspect.path`, whatever it is; on `data/` when none is named."""
    workspace = Workspace(settings.workspace)
    path = workspace.data if settings.inspect.path is None else workspace.path(settings.inspect.path)
    if path.name == SHARDS and shard_manifests(path.parent):
        path = path.parent
    if not path.exists():
        raise DataError(f"{path}: there is nothing", hint="aurora download" if path == workspace.data else CHOICE)
    if is_store(path):
        return inspect_store(one_store(path), settings, reporter, dry_run=dry_run)
    if (path / SHARDS).is_dir() or (path / COMPLETE).exists():
        return inspect_store(all_shards(path), settings, reporter, dry_run=dry_run)
    if settings.inspect.decode and not (path.is_dir() and looks_like_data(path)):
        raise UsageError(f"inspect.decode: {path} is no data folder, and only the media of one can be decoded")
    if is_run(path):
        return inspect_training(path, settings, workspace, dry_run=dry_run)
    folders = tokenized_below(path)
    if settings.inspect.html is not None:
        hint = f"aurora inspect {folders[0]} --html {settings.inspect.html}" if folders else "Name a tokenized folder."
        raise UsageError(f"inspect.html: {path} is no token store and no run, and reports are about those", hint=hint)
    if path.is_file():
        return inspect_annotations(annotations(path), settings)
    if folders:
        return inspect_stores(path, folders, workspace)
    if looks_like_data(path):
        return inspect_data(path, settings, reporter)
    raise DataError(f"{path}: holds no annotations, no shards and no run", hint=what_to_name(path, workspace))


def is_store(path: Path) -> bool:
    return (path / MANIFEST).is_file() and (path / STATE_FILE).is_file()


def annotations(path: Path) -> Path:
    """The file, if it is one of records.

    Raises:
        UsageError: it is another one, of a token store perhaps.
    """
    if is_store(path.parent) or (path.parent / SHARDS).is_dir():
        raise UsageError(f"{path}: is a part of a token store", hint=f"aurora inspect {path.parent}")
    if not is_annotation_file(path):
        raise UsageError(f"{path}: is no annotation file; expected one of {', '.join(SUFFIXES)}, or a folder")
    return path


def what_to_name(path: Path, workspace: Workspace) -> str:
    if path == workspace.data:
        return "aurora download"
    inside = [path / part.name for part in (workspace.data, workspace.tokenized) if (path / part.name).is_dir()]
    return "\n".join(f"aurora inspect {folder}" for folder in inside) or CHOICE


def looks_like_data(path: Path) -> bool:
    return any(is_annotation_file(file) for pattern in ("*", "*/*", "*/*/*") for file in path.glob(pattern))


def inspect_stores(path: Path, folders: list[Path], workspace: Workspace) -> StoresReport:
    reports = []
    begun = [folder for folder in folders if not shard_manifests(folder)]
    for folder in folders:
        if folder in begun:
            continue
        chosen = all_shards(folder)
        numbers = StoreNumbers(piece for store in chosen.stores for piece in store.summaries())
        reports.append(report_on(chosen, numbers, workspace, samples=0))
    return StoresReport(str(path), tuple(reports), tuple(map(str, begun)))


def inspect_store(chosen: Stores, settings: Settings, reporter: Reporter, *, dry_run: bool) -> StoreReport:
    """Report on a shard, a merged folder or all shards, and write the page that was asked for."""
    workspace, step = Workspace(settings.workspace), settings.inspect
    numbers = StoreNumbers(piece for store in chosen.stores for piece in store.summaries())
    usual = SAMPLES if step.html is None else SAMPLES_IN_HTML
    report = report_on(chosen, numbers, workspace, usual if step.samples is None else step.samples)
    if step.html is None:
        return report
    target = page_to_write(workspace, step.html)
    if dry_run:
        return replace(report, planned=str(target))
    thumbnails = Thumbnails(settings.model.image_mean)
    rows = []
    with reporter.progress("images", len(report.samples), "rows") as advance:
        for shown in report.samples:
            row, _ = chosen.row(shown.number)
            rows.append(PageRow(shown, row, thumbnails.of(row, workspace.path(shown.media_root))))
            advance(1)
    write_text(target, store_page(report, numbers, chosen, rows))
    return replace(report, html=str(target))


def inspect_training(path: Path, settings: Settings, workspace: Workspace, *, dry_run: bool) -> RunReport:
    """Report on a run, and write its page as it would look now if that was asked for."""
    report = inspect_run(path)
    if settings.inspect.html is None:
        return report
    target = page_to_write(workspace, settings.inspect.html)
    if not dry_run:
        write_report(path, workspace.root, target)
    return replace(report, html=str(target), planned=dry_run)


def page_to_write(workspace: Workspace, html: Path) -> Path:
    """
    Raises:
        UsageError: no file can have that name.
    """
    target = workspace.path(html)
    if target.is_dir():
        raise UsageError(
            f"inspect.html: {target} is a folder, where a file was expected", hint=f"--html {target}/report.html"
        )
    if not (above := existing_parent(target.parent)).is_dir():
        raise UsageError(f"inspect.html: {target} lies below {above}, which is no folder")
    return target
