"""`aurora inspect SHARD|MERGED|TOKENIZED`: what a token store holds. Counts come from summaries, not from tokens."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tokenizers import Tokenizer

from aurora_cli.config.workspace import Workspace
from aurora_cli.data.media.root import MediaRoot
from aurora_cli.data.token_store.entries import Counts
from aurora_cli.data.token_store.folder import SHARDS, TOKENIZER, is_complete, part_name, shard_manifests
from aurora_cli.data.token_store.manifest import MergedManifest
from aurora_cli.data.token_store.store import Row, TokenStore, open_store
from aurora_cli.data.tokenization.preview import RowPreview, preview_of
from aurora_cli.errors import DataError
from aurora_cli.pipeline.inspect.store_numbers import StoreNumbers
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
    settings: dict[str, Any]
    complete: bool
    """False: `tokenize` has not made all shards yet."""
    samples: tuple[ShownRow, ...]
    html: str | None = None
    """The file of the report, if one was asked for."""
    planned: str | None = None
    """With --dry-run: the file that would be written."""

    def lines(self) -> list[str]:
        lines = [f"{self.path}: {self.kind}, {self.rows:,} rows of {self.read:,} records"]
        if not self.complete:
            lines.append("  not complete: aurora tokenize goes on with it")
        lines.append("  " + ", ".join(f"{name} {value}" for name, value in self.settings.items()))
        lines.append(f"  {self.tokens:,} tokens, {self.target_share:.1%} taught")
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


class Stores(NamedTuple):
    """What is reported on as one: a shard, a merged folder, or all shards of a folder."""

    folder: Path
    kind: Kind
    stores: list[TokenStore]
    tokenizer: Tokenizer | None
    rejects: list[Path]
    """The folders whose rejected.jsonl belong to it."""
    complete: bool
    media_root: str | None = None
    """Folder that media are named from; none: what the stores say."""

    @property
    def rows(self) -> int:
        return sum(store.num_rows for store in self.stores)

    def row(self, number: int) -> tuple[Row, str]:
        """A row by its number in all stores, and the folder that its media are named from."""
        for store in self.stores:
            if number < store.num_rows:
                return store.rows([number])[0], self.media_root or store.media_root(number)
            number -= store.num_rows
        raise IndexError(f"{self.folder} has {self.rows} rows")


def one_store(folder: Path) -> Stores:
    """One shard or merged folder."""
    store = open_store(folder)
    merged = isinstance(store.manifest, MergedManifest)
    tokenizer = (folder if merged else folder.parent.parent) / TOKENIZER
    return Stores(folder, "merged" if merged else "shard", [store], read_tokenizer(tokenizer), [folder], True)


def all_shards(folder: Path) -> Stores:
    """All shards of a folder that `tokenize` writes, or has begun to."""
    manifests = shard_manifests(folder)
    if not manifests:
        raise DataError(f"{folder}: holds no whole shard", hint="aurora tokenize")
    shards = [folder / SHARDS / part_name(index) for index in manifests]
    stores = [open_store(shard) for shard in shards]
    tokenizer = read_tokenizer(folder / TOKENIZER)
    return Stores(folder, "tokenized", stores, tokenizer, shards, is_complete(folder, manifests))


def read_tokenizer(path: Path) -> Tokenizer | None:
    if not path.is_file():
        return None
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # `tokenizers` raises bare Exceptions
        raise DataError(f"{path}: is no tokenizer that can be read: {error}") from error


def report_on(chosen: Stores, numbers: StoreNumbers, workspace: Workspace, samples: int) -> StoreReport:
    counts = Counts.total(store.manifest.counts for store in chosen.stores)
    manifest = chosen.stores[0].manifest
    return StoreReport(
        path=str(chosen.folder),
        kind=chosen.kind,
        rows=numbers.rows,
        tokens=numbers.tokens,
        target_share=numbers.target_tokens / max(1, numbers.tokens),
        lengths=numbers.lengths(),
        histogram={entry.name: entry.rows for entry in numbers.doubling_lengths()},
        media=numbers.media,
        videos=numbers.videos,
        frames=numbers.frames,
        media_per_row={entry.name: entry.rows for entry in numbers.media_counts()},
        without_media=numbers.without_media,
        read=counts.read,
        rejected=counts.rejected,
        settings={name: getattr(manifest, name) for name in ("tokenizer", "template", "max_length", "frames")},
        complete=chosen.complete,
        samples=shown_rows(chosen, workspace, samples),
    )


def shown_rows(chosen: Stores, workspace: Workspace, count: int) -> tuple[ShownRow, ...]:
    """Rows spread evenly, the first among them. None without a tokenizer, which alone knows what they say."""
    if chosen.tokenizer is None:
        return ()
    shown = []
    for number in spread(chosen.rows, count):
        row, media_root = chosen.row(number)
        media = media_states(row, MediaRoot(workspace.path(media_root)))
        shown.append(ShownRow(number, preview_of(row, chosen.tokenizer), media_root, media))
    return tuple(shown)


def spread(rows: int, count: int) -> Sequence[int]:
    """
    >>> list(spread(10, 3)), list(spread(2, 5)), list(spread(0, 5))
    ([0, 3, 6], [0, 1], [])
    """
    count = min(rows, count)
    return [index * rows // count for index in range(count)]


def media_states(row: Row, root: MediaRoot) -> dict[str, State]:
    names = [*(row.image or ()), *([row.video] if row.video else ())]
    return {name: media_state(name, root) for name in names}


def media_state(name: str, root: MediaRoot) -> State:
    location = root.locate(name)
    if location is None:
        return "missing"
    return "index" if location == "indexed" else "folder"
