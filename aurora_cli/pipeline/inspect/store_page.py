"""`aurora inspect TOKENIZED --html`: the report on a token store as a page for a browser."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from aurora_cli.constants import REJECTS_FILE
from aurora_cli.data.annotations.schemas import meaning_of
from aurora_cli.data.token_store.rejected import RejectedRecord, rejected_records
from aurora_cli.pipeline.inspect.row_cards import PageRow, RowCard, card
from aurora_cli.pipeline.inspect.store import Stores
from aurora_cli.pipeline.inspect.store_charts import distributions
from aurora_cli.pipeline.inspect.store_numbers import StoreNumbers
from aurora_cli.pipeline.inspect.store_report import StoreReport
from aurora_cli.reports.page import Chart, Fact, Page, render, short

EXAMPLES = 3
"""Of each reason."""

SEARCHED_LINES = 200_000
"""Lines of rejected.jsonl that are searched for them."""


class RejectedReason(NamedTuple):
    """The records that were rejected for one reason."""

    reason: str
    meaning: str
    records: int
    share: str
    """Of all records."""
    examples: list[RejectedRecord]


class SourceTotal(NamedTuple):
    """An annotation file that the rows were made from, with the counts of all its shards."""

    path: str
    sha256: str
    shards: int
    read: int
    kept: int


@dataclass(frozen=True)
class StorePage(Page):
    """What `templates/store.html.j2` shows."""

    complete: bool
    facts: list[Fact]
    charts: list[Chart]
    """None: there are no rows."""
    rejects: list[RejectedReason]
    rejects_file: str
    sources: list[SourceTotal]
    rows: list[RowCard]
    why_no_rows: str


def store_page(report: StoreReport, numbers: StoreNumbers, selected: Stores, rows: Iterable[PageRow]) -> str:
    page = StorePage(
        title=report.path,
        lead=f"{report.kind}: {report.rows:,} rows of {report.read:,} records. {report.settings}",
        foot="aurora inspect.",
        complete=report.complete,
        facts=facts(report, numbers),
        charts=distributions(report, numbers) if numbers.rows else [],
        rejects=rejects(report, selected),
        rejects_file=REJECTS_FILE,
        sources=sources(selected),
        rows=[card(row, selected) for row in rows],
        why_no_rows="--samples is 0." if selected.tokenizer else "There is no tokenizer.json to read them with.",
    )
    return render("store.html.j2", page)


def facts(report: StoreReport, numbers: StoreNumbers) -> list[Fact]:
    rejected = sum(report.rejected.values())
    return [
        Fact("rows", f"{report.rows:,}", f"of {report.read:,} records"),
        Fact("tokens", short(report.tokens), f"{report.lengths.get('mean', 0):,g} a row in the mean"),
        Fact("target tokens", f"{report.target_share:.1%}", f"{numbers.target_tokens:,} that the loss learns from"),
        Fact("images", f"{report.media - report.videos:,}", f"{report.without_media:,} rows of text alone"),
        Fact("videos", f"{report.videos:,}", f"{report.frames:,} frames with the images"),
        Fact("rejected", f"{rejected:,}", f"{rejected / max(1, report.read):.2%} of the records"),
    ]


def rejects(report: StoreReport, selected: Stores) -> list[RejectedReason]:
    """The reasons, the most frequent first."""
    if not report.rejected:
        return []
    found = examples(selected.rejects, set(report.rejected))
    return [
        RejectedReason(reason, meaning_of(reason), count, f"{count / max(1, report.read):.2%}", found.get(reason, []))
        for reason, count in sorted(report.rejected.items(), key=lambda entry: -entry[1])
    ]


def examples(folders: Iterable[Path], reasons: set[str]) -> dict[str, list[RejectedRecord]]:
    """The first rejects of each reason, found without reading more than is needed."""
    found: dict[str, list[RejectedRecord]] = {}
    for record in rejected_records(folders, SEARCHED_LINES):
        known = found.setdefault(record.reason, [])
        if len(known) < EXAMPLES:
            known.append(record)
        if all(len(found.get(reason, ())) == EXAMPLES for reason in reasons):
            break
    return found


def sources(selected: Stores) -> list[SourceTotal]:
    totals: dict[str, SourceTotal] = {}
    for store in selected.stores:
        for part in store.parts:
            source, counts = part.source, part.counts
            total = totals.get(source.path, SourceTotal(source.path, source.sha256, 0, 0, 0))
            totals[source.path] = total._replace(
                shards=total.shards + 1, read=total.read + counts.read, kept=total.kept + counts.kept
            )
    return list(totals.values())
