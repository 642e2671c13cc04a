"""What `aurora inspect` says of a token store."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Literal

from aurora_cli.data.tokenization.preview import RowPreview
from aurora_cli.pipeline.result import Result

BAR = 40
"""Characters of the histogram's longest bar."""

LISTED_MEDIA = 20
"""Media of a row that are named one by one."""

Kind = Literal["shard", "merged", "tokenized"]
State = Literal["folder", "index", "missing"]
WHERE = {"folder": "found", "index": "found in an indexed archive", "missing": "MISSING"}


@dataclass(frozen=True)
class ShownRow:
    """A row, and where its media are."""

    number: int
    """From 0 on."""
    sample: RowPreview
    media_root: str
    media: dict[str, State]
    """Every image or video: a file of the folder, a member of an indexed archive in it, or missing."""

    def lines(self) -> list[str]:
        lines = [f"row {self.number:,}:", *self.sample.lines()]
        lines += [f"  {name}: {WHERE[state]}" for name, state in list(self.media.items())[:LISTED_MEDIA]]
        if len(self.media) > LISTED_MEDIA:
            states = Counter(self.media.values())
            counts = ", ".join(f"{count:,} {WHERE[state]}" for state, count in states.items())
            lines.append(f"  ... of {len(self.media):,} media: {counts}")
        return lines


@dataclass(frozen=True)
class StoreSettings:
    """What the rows were encoded with."""

    tokenizer: str
    """Folder or hub id."""
    template: str
    max_length: int
    """Tokens of a row at most."""
    frames: int
    """Of each video."""

    def __str__(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in asdict(self).items())


@dataclass(frozen=True)
class StoreReport(Result):
    """What `aurora inspect` found in a token store."""

    path: str
    kind: Kind
    rows: int
    tokens: int
    """An image or frame counts one."""
    target_share: float
    """Of the tokens."""
    lengths: dict[str, float]
    """min, median, mean, p95, max of tokens a row."""
    histogram: dict[str, int]
    """Rows by length, in doubling bins."""
    media: int
    """Images and videos of all rows."""
    videos: int
    frames: int
    """Images, and frames of videos."""
    media_per_row: dict[str, int]
    """Rows by their number of images and videos."""
    without_media: int
    """Rows of text alone."""
    read: int
    rejected: dict[str, int]
    """Records by reason."""
    settings: StoreSettings
    complete: bool
    """False: `tokenize` has not made all shards yet."""
    samples: tuple[ShownRow, ...]
    html: str | None = None
    """The file of the report, if one is to be written."""
    planned: str | None = None
    """With --dry-run: the file that would be written."""

    def lines(self) -> list[str]:
        lines = [f"{self.path}: {self.kind}, {self.rows:,} rows of {self.read:,} records"]
        if not self.complete:
            lines.append("  not complete: aurora tokenize goes on with it")
        lines.append(f"  {self.settings}")
        lines.append(f"  {self.tokens:,} tokens, {self.target_share:.1%} of them targets of the loss")
        if self.lengths:
            lines.append("  tokens a row: " + ", ".join(f"{name} {value:,g}" for name, value in self.lengths.items()))
            lines += bars(self.histogram)
        lines.append(
            f"  {self.media:,} images and videos ({self.videos:,} videos), {self.frames:,} frames, "
            f"{self.without_media:,} rows of text alone"
        )
        if len(self.media_per_row) > 1:
            lines += ["  images and videos a row:", *bars(self.media_per_row)]
        rejected = ", ".join(f"{reason} {count:,}" for reason, count in sorted(self.rejected.items()))
        lines.append(f"  rejected: {rejected or 'none'}")
        lines += [f"  {line}" for row in self.samples for line in row.lines()]
        if self.html is not None:
            lines.append(f"report: {self.html}")
        if self.planned is not None:
            lines.append(f"would write {self.planned}")
        return lines


def bars(counts: dict[str, int]) -> list[str]:
    highest = max(counts.values(), default=0)
    return [
        f"  {name:>13} {count:>10,} {'#' * -(-BAR * count // highest) if highest else ''}".rstrip()
        for name, count in counts.items()
    ]
