"""`aurora inspect TOKENIZED --html`: the report on a token store as a page for a browser."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from aurora_cli.constants import REJECTS_FILE
from aurora_cli.data.annotations.records import REASONS
from aurora_cli.data.token_store.store import Row
from aurora_cli.data.tokenization.preview import runs
from aurora_cli.pipeline.inspect.store import ShownRow, StoreReport, Stores
from aurora_cli.pipeline.inspect.store_numbers import SHARES, Bin, StoreNumbers
from aurora_cli.pipeline.inspect.thumbnails import IMAGES, Thumbnail
from aurora_cli.reports import page as html
from aurora_cli.reports.charts import Bar, histogram
from aurora_cli.reports.page import Fact, Html, short

EXAMPLES = 3
"""Rejects of each reason that are shown."""

SEARCHED_REJECTS = 200_000
"""Lines of rejected.jsonl that are searched for them."""

TEXT = 20_000
"""Characters of a row's text."""

IMAGE = "<image>"


class PageRow(NamedTuple):
    """A row as the page shows it."""

    shown: ShownRow
    row: Row
    thumbnails: list[Thumbnail]


def store_page(report: StoreReport, numbers: StoreNumbers, chosen: Stores, rows: Iterable[PageRow]) -> str:
    parts = [overview(report, numbers), distributions(report, numbers), rejects(report, chosen), sources(chosen)]
    parts.append(samples(chosen, rows))
    made = ", ".join(f"{name} {value}" for name, value in report.settings.items())
    lead = f"{report.kind}: {report.rows:,} rows of {report.read:,} records. {made}"
    return html.page(
        report.path, lead, parts, foot="aurora inspect. This file is complete in itself and fetches nothing."
    )


def overview(report: StoreReport, numbers: StoreNumbers) -> Html:
    rejected = sum(report.rejected.values())
    entries = [
        Fact("rows", f"{report.rows:,}", f"of {report.read:,} records"),
        Fact("tokens", short(report.tokens), f"{report.lengths.get('mean', 0):,g} a row in the mean"),
        Fact("taught", f"{report.target_share:.1%}", f"{numbers.taught:,} tokens"),
        Fact("images", f"{report.media - report.videos:,}", f"{report.without_media:,} rows of text alone"),
        Fact("videos", f"{report.videos:,}", f"{report.frames:,} frames with the images"),
        Fact("rejected", f"{rejected:,}", f"{rejected / max(1, report.read):.2%} of the records"),
    ]
    warning = "Not complete: aurora tokenize has not made all shards yet."
    said = [] if report.complete else [html.element("p", warning, kind="warning")]
    return html.joined([*said, html.facts(entries)])


def distributions(report: StoreReport, numbers: StoreNumbers) -> Html:
    if not numbers.rows:
        return html.section("Distributions", html.element("p", "There are no rows.", kind="note"))
    lengths = numbers.even_lengths()
    width = lengths[0].last - lengths[0].first + 1
    marks = {name: (report.lengths[name] + 0.5) / width for name in ("median", "p95")}
    spread = ", ".join(f"{name} {value:,g}" for name, value in report.lengths.items())
    shares = [f"{100 * index // SHARES}" for index in range(SHARES + 1)]
    share_bars = [
        Bar(f"{low}%", rows, f"{low} to {high} %: {rows:,} rows")
        for low, high, rows in zip(shares, shares[1:], numbers.by_share.tolist(), strict=False)
    ]
    media = [Bar(entry.name, entry.rows, tip(entry, "images and videos")) for entry in numbers.media_counts()]
    frames = bars(numbers.frame_counts(), "frames")
    drawn = [
        html.chart(
            "Tokens a row",
            histogram(
                bars(lengths, "tokens"),
                name="Rows by tokens",
                axis="tokens, an image or frame counting 1",
                marks=marks,
            ),
            spread,
        ),
        html.chart(
            "Taught share of a row",
            histogram(share_bars, name="Rows by taught share", axis="share of a row's tokens that is taught"),
            f"{report.target_share:.1%} of all tokens",
        ),
        html.chart(
            "Images and videos a row",
            histogram(media, name="Rows by images and videos", axis="images and videos"),
            f"{report.media:,} in all, {report.videos:,} of them videos",
        ),
        html.chart(
            "Frames a row",
            histogram(frames, name="Rows by frames", axis="images, and frames of videos"),
            f"{report.frames:,} in all; each becomes many visual tokens",
        ),
    ]
    return html.section("Distributions", html.charts(drawn), note="Up: rows. Rest the mouse on a bar for its numbers.")


def bars(bins: Iterable[Bin], what: str) -> list[Bar]:
    return [Bar(f"{entry.first:,}", entry.rows, tip(entry, what)) for entry in bins]


def tip(entry: Bin, what: str) -> str:
    return f"{entry.name} {what}: {entry.rows:,} rows"


def rejects(report: StoreReport, chosen: Stores) -> Html:
    if not report.rejected:
        return html.section("Rejected records", html.element("p", "None.", kind="note"))
    found = examples(chosen.rejects, set(report.rejected))
    rows = []
    for reason, count in sorted(report.rejected.items(), key=lambda entry: -entry[1]):
        named = [
            html.element(
                "div", html.element("code", f"{entry.get('file')}:{entry.get('line')}"), f" {entry.get('detail')}"
            )
            for entry in found.get(reason, [])
        ]
        name = html.joined([html.element("code", reason), with_code(REASONS.get(reason, ""))], " ")
        rows.append((name, count, f"{count / max(1, report.read):.2%}", html.joined(named)))
    table = html.table(("reason", "records ", "share ", "the first"), rows)
    return html.section("Rejected records", table, note=f"{REJECTS_FILE} beside the shards lists every one.")


def with_code(text: str) -> Html:
    """What stands between backticks, as code."""
    pieces = text.split("`")
    return html.joined((html.element("code", piece) if index % 2 else piece for index, piece in enumerate(pieces)), "")


def examples(folders: Iterable[Path], reasons: set[str]) -> dict[str, list[dict[str, Any]]]:
    """The first rejects of each reason, found without reading more than is needed."""
    found: dict[str, list[dict[str, Any]]] = {}
    for entry in rejected_entries(folders):
        known = found.setdefault(str(entry.get("reason")), [])
        if len(known) < EXAMPLES:
            known.append(entry)
        if all(len(found.get(reason, ())) == EXAMPLES for reason in reasons):
            break
    return found


def rejected_entries(folders: Iterable[Path]) -> Iterator[dict[str, Any]]:
    left = SEARCHED_REJECTS
    for folder in folders:
        if not (folder / REJECTS_FILE).is_file():
            continue
        with open(folder / REJECTS_FILE, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if left == 0:
                    return
                left -= 1
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if isinstance(entry, dict):
                    yield entry


def sources(chosen: Stores) -> Html:
    """The annotation files that the rows were made from, with the counts of all their shards."""
    totals: dict[str, dict[str, Any]] = {}
    for store in chosen.stores:
        for part in store.manifest.get("parts", [store.manifest]):
            source, counts = part["source"], part["counts"]
            total = totals.setdefault(source["path"], {**dict.fromkeys(("shards", "read", "kept"), 0), **source})
            total["shards"] += 1
            total["read"] += counts["read"]
            total["kept"] += counts["kept"]
    rows = [
        (path, total["shards"], total["read"], total["kept"], html.element("code", str(total.get("sha256", ""))[:16]))
        for path, total in totals.items()
    ]
    return html.section("Sources", html.table(("file", "shards ", "read ", "kept ", "sha256"), rows))


def samples(chosen: Stores, rows: Iterable[PageRow]) -> Html:
    cards = [card(row, chosen) for row in rows]
    if not cards:
        why = "None was asked for." if chosen.tokenizer else "There is no tokenizer.json to read them with."
        return html.section("Rows", html.element("p", why, kind="note"))
    note = Html(
        "Spread evenly over the store. <mark>Marked text</mark> is taught. "
        "Images are padded to squares, as the vision tower gets them."
    )
    return html.section("Rows", *cards, note=note)


def card(entry: PageRow, chosen: Stores) -> Html:
    sample = entry.shown.sample
    said = f"row {entry.shown.number:,} · {sample.length:,} tokens, {sample.taught:,} taught"
    videos = [length for length in sample.media_lengths if length > 1]
    if videos:
        said += (
            f" · frames of {'its video' if len(videos) == 1 else 'its videos'}: {', '.join(map(str, videos[:IMAGES]))}"
        )
    parts = [html.element("header", html.element("h3", sample.id), html.element("p", said, kind="note"))]
    if entry.thumbnails:
        parts.append(images(entry))
    parts.append(html.element("p", marked(entry.row, chosen), kind="text"))
    parts.append(html.folded("token ids", html.element("code", " ".join(map(str, sample.input_ids)))))
    return html.element("article", *parts, kind="card")


def images(entry: PageRow) -> Html:
    shown = []
    for thumbnail in entry.thumbnails:
        kind, word = state_of(thumbnail, entry.shown)
        caption = html.joined([thumbnail.name, html.element("span", word, kind=kind)], " ")
        shown.append(html.image(thumbnail.jpeg, caption, instead=thumbnail.reason))
    grid = html.element("div", *shown, kind="images")
    hidden = len(entry.shown.media) - len({thumbnail.name for thumbnail in entry.thumbnails})
    if hidden <= 0 or entry.row.video:
        return grid
    rest = [f"{name}: {state}" for name, state in entry.shown.media.items()]
    return html.joined([grid, html.folded(f"all {len(rest):,} files", html.element("code", "\n".join(rest)))])


def state_of(thumbnail: Thumbnail, shown: ShownRow) -> tuple[str, str]:
    """Good or bad, and the word for it."""
    if thumbnail.unreadable:
        return "bad", "unreadable"
    states = {"folder": ("good", "found"), "index": ("good", "in an indexed archive"), "missing": ("bad", "missing")}
    return states[shown.media.get(thumbnail.name, "folder")]


def marked(row: Row, chosen: Stores) -> Html:
    assert chosen.tokenizer is not None
    pieces, left = [], TEXT
    for text, taught in runs(row.input_ids, row.labels, chosen.tokenizer):
        words = with_chips(text[:left])
        pieces.append(html.element("mark", words) if taught else words)
        left -= len(text)
        if left <= 0:
            pieces.append(html.element("span", " ... cut here", kind="note"))
            break
    return html.joined(pieces, "")


def with_chips(text: str) -> Html:
    """`<image>` as a small frame instead of a word."""
    chip = html.element("span", "image", kind="chip")
    return Html(str(chip).join(html.safe(piece) for piece in text.split(IMAGE)))
