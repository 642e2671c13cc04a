"""`aurora inspect SHARD|MERGED|TOKENIZED`: what a token store holds. Counts come from summaries, not from tokens."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer

from aurora_cli.config.workspace import Workspace
from aurora_cli.data.media.root import MediaRoot
from aurora_cli.data.token_store.entries import Counts
from aurora_cli.data.token_store.folder import SHARDS, TOKENIZER, is_complete, part_name, shard_manifests
from aurora_cli.data.token_store.manifest import MergedManifest
from aurora_cli.data.token_store.store import Row, TokenStore, open_store
from aurora_cli.data.tokenization.preview import preview_of
from aurora_cli.errors import DataError
from aurora_cli.io.data_uri import shown
from aurora_cli.pipeline.inspect.store_numbers import StoreNumbers
from aurora_cli.pipeline.inspect.store_report import Kind, ShownRow, State, StoreReport, StoreSettings


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


def report_on(selected: Stores, numbers: StoreNumbers, workspace: Workspace, samples: int) -> StoreReport:
    """The numbers of the stores, and so many of their rows."""
    counts = Counts.total(store.manifest.counts for store in selected.stores)
    manifest = selected.stores[0].manifest
    return StoreReport(
        path=str(selected.folder),
        kind=selected.kind,
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
        settings=StoreSettings(manifest.tokenizer, manifest.template, manifest.max_length, manifest.frames),
        complete=selected.complete,
        samples=shown_rows(selected, workspace, samples),
    )


def shown_rows(selected: Stores, workspace: Workspace, count: int) -> tuple[ShownRow, ...]:
    """Rows spread evenly, the first among them. None without a tokenizer, which alone knows what they say."""
    if selected.tokenizer is None:
        return ()
    shown = []
    for number in spread(selected.rows, count):
        row, media_root = selected.row(number)
        media = media_states(row, MediaRoot(workspace.path(media_root)))
        shown.append(ShownRow(number, preview_of(row, selected.tokenizer), media_root, media))
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
    return {shown(name): media_state(name, root) for name in names}


def media_state(name: str, root: MediaRoot) -> State:
    location = root.locate(name)
    if location is None:
        return "missing"
    return "index" if location == "indexed" else "folder"
