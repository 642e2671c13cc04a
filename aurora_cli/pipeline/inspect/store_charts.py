"""How the rows of a token store are spread, as histograms."""

from collections.abc import Iterable

from aurora_cli.pipeline.inspect.store_numbers import SHARES, Bin, StoreNumbers
from aurora_cli.pipeline.inspect.store_report import StoreReport
from aurora_cli.reports.charts import Bar, histogram
from aurora_cli.reports.page import Chart


def distributions(report: StoreReport, numbers: StoreNumbers) -> list[Chart]:
    """Rows by tokens, by share of target tokens, by media and by frames. There must be rows."""
    lengths = numbers.even_lengths()
    width = lengths[0].last - lengths[0].first + 1
    marks = {name: (report.lengths[name] + 0.5) / width for name in ("median", "p95")}
    shares = [f"{100 * index // SHARES}" for index in range(SHARES + 1)]
    share_bars = [
        Bar(f"{low}%", rows, f"{low} to {high} %: {rows:,} rows")
        for low, high, rows in zip(shares, shares[1:], numbers.by_share.tolist(), strict=False)
    ]
    media = [Bar(entry.name, entry.rows, tip(entry, "images and videos")) for entry in numbers.media_counts()]
    return [
        Chart(
            "Tokens a row",
            histogram(
                bars(lengths, "tokens"),
                name="Rows by tokens",
                axis="tokens, an image or frame counting 1",
                marks=marks,
            ),
            ", ".join(f"{name} {value:,g}" for name, value in report.lengths.items()),
        ),
        Chart(
            "Target share of a row",
            histogram(share_bars, name="Rows by target share", axis="share of a row's tokens that are targets"),
            f"{report.target_share:.1%} of all tokens",
        ),
        Chart(
            "Images and videos a row",
            histogram(media, name="Rows by images and videos", axis="images and videos"),
            f"{report.media:,} in all, {report.videos:,} of them videos",
        ),
        Chart(
            "Frames a row",
            histogram(
                bars(numbers.frame_counts(), "frames"), name="Rows by frames", axis="images, and frames of videos"
            ),
            f"{report.frames:,} in all; each becomes many visual tokens",
        ),
    ]


def bars(bins: Iterable[Bin], what: str) -> list[Bar]:
    return [Bar(f"{entry.first:,}", entry.rows, tip(entry, what)) for entry in bins]


def tip(entry: Bin, what: str) -> str:
    return f"{entry.name} {what}: {entry.rows:,} rows"
