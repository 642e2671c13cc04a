"""`aurora inspect TOKENIZED` as a whole: one token store with its page, or a line each of many."""

from dataclasses import dataclass, replace
from pathlib import Path

from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import Reporter
from aurora_cli.data.token_store.folder import shard_manifests
from aurora_cli.io.atomic import write_text
from aurora_cli.pipeline.inspect.store import Stores, all_shards, report_on
from aurora_cli.pipeline.inspect.store_numbers import StoreNumbers
from aurora_cli.pipeline.inspect.store_report import StoreReport
from aurora_cli.pipeline.result import Result

SAMPLES, SAMPLES_IN_HTML = 1, 12


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
                f"{store.target_share:.1%} of them targets, {store.media:,} images and videos, "
                f"{rejected:,} rejected{state}"
            )
        lines += [f"  {folder}: no whole shard yet" for folder in self.begun]
        lines += [f"aurora inspect {store.path} shows more of it." for store in self.stores[:1]]
        return lines


def inspect_stores(path: Path, folders: list[Path], workspace: Workspace) -> StoresReport:
    """Report on the tokenized folders below `path`, without their rows."""
    reports, begun = [], []
    for folder in folders:
        if not shard_manifests(folder):
            begun.append(str(folder))
            continue
        shards = all_shards(folder)
        reports.append(report_on(shards, numbers_of(shards), workspace, samples=0))
    return StoresReport(str(path), tuple(reports), tuple(begun))


def inspect_store(
    stores: Stores, settings: Settings, reporter: Reporter, page: Path | None, *, dry_run: bool
) -> StoreReport:
    """Report on a shard, a merged folder or all shards, and write the page to `page` if there is to be one."""
    workspace, count = Workspace(settings.workspace), settings.inspect.samples
    if count is None:
        count = SAMPLES if page is None else SAMPLES_IN_HTML
    numbers = numbers_of(stores)
    report = report_on(stores, numbers, workspace, count)
    if page is None:
        return report
    if dry_run:
        return replace(report, planned=str(page))
    write_text(page, page_of(report, numbers, stores, settings, reporter))
    return replace(report, html=str(page))


def numbers_of(stores: Stores) -> StoreNumbers:
    return StoreNumbers(piece for store in stores.stores for piece in store.summaries())


def page_of(report: StoreReport, numbers: StoreNumbers, stores: Stores, settings: Settings, reporter: Reporter) -> str:
    """The page on the store: its rows, too, with small images of their media."""
    from aurora_cli.pipeline.inspect.row_cards import PageRow
    from aurora_cli.pipeline.inspect.store_page import store_page
    from aurora_cli.pipeline.inspect.thumbnails import Thumbnails

    workspace, thumbnails, rows = Workspace(settings.workspace), Thumbnails(settings.model.image_mean), []
    with reporter.progress("images", len(report.samples), "rows") as advance:
        for shown in report.samples:
            row, _ = stores.row(shown.number)
            rows.append(PageRow(shown, row, thumbnails.of(row, workspace.path(shown.media_root))))
            advance(1)
    return store_page(report, numbers, stores, rows)
