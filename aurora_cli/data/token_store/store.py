"""The token store: `datasets` folders of Arrow files, one a shard, and a merged folder that links the files of many.

A row is one record: `id`, `image`, `video`, `media_lengths`, `input_ids` (-200 where an image or frame goes), `labels`
(-100 for all but target tokens), `length`, and `span` where a row of the file has one. Beside the rows each shard has
`summary.arrow`, a few integers a row, so that packing and statistics never touch tokens, and `manifest.json`, what the
rows were made from.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from aurora_cli.data.token_store.manifest import MADE_AGAIN, MergedManifest, MergedShard, ShardManifest, read_manifest
from aurora_cli.data.token_store.mapped import MappedFile
from aurora_cli.data.token_store.media_keys import MediaKeys, keys_column, keys_of, read_column
from aurora_cli.data.token_store.number_views import numbers_of
from aurora_cli.data.token_store.schema import (
    MANIFEST,
    MEDIA_KEYS,
    ROW_SCHEMA,
    SPAN,
    SPAN_SCHEMA,
    STATE_FILE,
    SUMMARY_NUMBERS,
    SUMMARY_SCHEMA,
)
from aurora_cli.errors import DataError, reason_of
from aurora_cli.io.json_files import read_object


class Summary(NamedTuple):
    """A few numbers of every row, in order: int32 arrays of one length."""

    length: np.ndarray
    """Tokens, a placeholder counting one."""
    frames: np.ndarray
    """Placeholders."""
    media: np.ndarray
    """Images and videos."""
    videos: np.ndarray
    """Media of more than one frame."""
    target_tokens: np.ndarray
    """Tokens with a label."""


class Row(NamedTuple):
    """A record as it is stored."""

    id: str
    image: list[str] | None
    video: str | None
    media_lengths: list[int]
    """Frames of each medium, in reading order: 1 an image, n a video."""
    input_ids: np.ndarray
    labels: np.ndarray
    span: tuple[float, float] | None = None
    """Seconds of the part of the video that it is about: from, and up to, which may be infinite; none: all of it."""


class RecordRows:
    """One record batch, with its columns of numbers as numpy views of the mapped file."""

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.ids, self.images, self.videos = (batch.column(index) for index in range(3))
        media, tokens, labels = (batch.column(name) for name in ("media_lengths", "input_ids", "labels"))
        self.media_offsets, self.media = numbers_of(media.offsets), numbers_of(media.values)
        self.token_offsets, self.tokens = numbers_of(tokens.offsets), numbers_of(tokens.values)
        self.label_offsets, self.labels = numbers_of(labels.offsets), numbers_of(labels.values)
        self.spans = batch.column(SPAN) if SPAN in batch.schema.names else None

    def row(self, index: int) -> Row:
        """A row of the batch; its tokens are views of the mapped file."""
        return Row(
            self.ids[index].as_py(),
            self.images[index].as_py(),
            self.videos[index].as_py(),
            self.media[self.media_offsets[index] : self.media_offsets[index + 1]].tolist(),
            self.tokens[self.token_offsets[index] : self.token_offsets[index + 1]],
            self.labels[self.label_offsets[index] : self.label_offsets[index + 1]],
            None if self.spans is None else span_at(self.spans, index),
        )


def span_at(spans: pa.Array, index: int) -> tuple[float, float] | None:
    """The span of a row, if it has one."""
    if (span := spans[index].as_py()) is None:
        return None
    start, end = span
    return start, end


class TokenStore:
    """A shard or a merged folder, memory-mapped: open it with `open_store`. Rows are views, not copies: read-only."""

    def __init__(
        self,
        folder: Path,
        manifest: ShardManifest | MergedManifest,
        batches: list[pa.RecordBatch],
        files: list[MappedFile],
    ) -> None:
        """`files`: for each of the batches, the one that it lies in."""
        self.folder = folder
        self.manifest = manifest
        self.parts: tuple[ShardManifest | MergedShard, ...] = (
            manifest.parts if isinstance(manifest, MergedManifest) else (manifest,)
        )
        """What the manifest says of each shard, in the order of their rows."""
        self.batches = batches
        self._files = files
        self._resident: set[MappedFile] = set()
        """Those that the rows wanted last lie in."""
        self.starts = np.concatenate([[0], np.cumsum([batch.num_rows for batch in batches], dtype=np.int64)])
        self.num_rows = int(self.starts[-1])
        self.opened: dict[int, RecordRows] = {}
        self.part_ends = np.cumsum([part.rows for part in self.parts], dtype=np.int64)

    def __reduce__(self) -> tuple[Any, ...]:
        return open_store, (self.folder,)

    def rows(self, indices: Sequence[int]) -> list[Row]:
        """The rows at `indices`, in that order. Pages of the rows that were wanted before count as memory no more.

        Raises:
            IndexError: there is no such row.
        """
        wanted = np.asarray(indices, dtype=np.int64)
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < self.num_rows:
            raise IndexError(f"{self.folder} has rows 0 to {self.num_rows - 1}")
        batches = np.searchsorted(self.starts, wanted, side="right") - 1
        inside = wanted - self.starts[batches]
        for file in self._resident:
            file.release()
        self._resident = {self._files[batch] for batch in batches.tolist()}
        return [self.batch(batch).row(index) for batch, index in zip(batches.tolist(), inside.tolist(), strict=True)]

    def batch(self, index: int) -> RecordRows:
        """A record batch, opened once."""
        if index not in self.opened:
            self.opened[index] = RecordRows(self.batches[index])
        return self.opened[index]

    def summary(self) -> Summary:
        """The summary of all rows, read from the summary files alone."""
        return Summary(*(np.concatenate(columns) for columns in zip(*self.summaries(), strict=True)))

    def summaries(self) -> Iterator[Summary]:
        """The same a piece at a time, as views of the mapped files: 20 M rows take no memory. At least one piece."""
        for table in self._summary_tables():
            for batch in table.to_batches() or [pa.RecordBatch.from_pylist([], SUMMARY_SCHEMA)]:
                yield Summary(*(numbers_of(batch.column(name)) for name in SUMMARY_NUMBERS.names))

    def media_keys(self) -> MediaKeys:
        """The media keys of all rows, from the summary files; where one is of schema 1, from the names in the rows."""
        tables = [*self._summary_tables()]
        if all(MEDIA_KEYS in table.schema.names for table in tables):
            columns = [chunk for table in tables for chunk in table.column(MEDIA_KEYS).chunks]
        else:
            columns = [
                keys_column(keys_of(images, video, None) for images, video in zip(*names, strict=True))
                for batch in self.batches
                for names in [[batch.column(name).to_pylist() for name in ("image", "video")]]
            ]
        return read_column(columns or [keys_column([])])

    def _summary_tables(self) -> Iterator[pa.Table]:
        for file in sorted(self.folder.glob("summary*.arrow")):
            yield read_stream(file, SUMMARY_SCHEMA, SUMMARY_NUMBERS)[1]

    def media_root(self, row: int) -> str:
        """The folder that a row's media are named from, relative to the workspace unless absolute."""
        part = int(np.searchsorted(self.part_ends, row, side="right"))
        return self.parts[part].media_root


def open_store(folder: str | Path) -> TokenStore:
    """The token store in a folder that `tokenize` or `merge-shards` wrote.

    Raises:
        DataError: there is none, or it is damaged.
    """
    folder = Path(folder)
    for name in (MANIFEST, STATE_FILE):
        if not (folder / name).is_file():
            raise DataError(f"{folder}: is no token store: {name} is missing", hint="aurora merge-shards")
    manifest = read_manifest(folder)
    try:
        names = [entry["filename"] for entry in read_object(folder / STATE_FILE, hint=MADE_AGAIN)["_data_files"]]
    except (KeyError, TypeError) as error:
        raise DataError(f"{folder / STATE_FILE}: names no data files: {error!r}", hint=MADE_AGAIN) from error
    batches: list[pa.RecordBatch] = []
    files: list[MappedFile] = []
    for name in names:
        file, table = read_stream(folder / name, ROW_SCHEMA, SPAN_SCHEMA)
        batches += table.to_batches()
        files += [file] * (len(batches) - len(files))
    store = TokenStore(folder, manifest, batches, files)
    if store.num_rows != manifest.rows:
        raise DataError(
            f"{folder}: holds {store.num_rows:,} rows, its manifest says {manifest.rows:,}", hint=MADE_AGAIN
        )
    return store


def read_stream(path: Path, *schemas: pa.Schema) -> tuple[MappedFile, pa.Table]:
    """An Arrow file, mapped, and its table. It has one of the schemas.

    Raises:
        DataError: it is missing, damaged, or has other columns.
    """
    try:
        file = MappedFile(path)
        table = pa.ipc.open_stream(pa.py_buffer(file.content)).read_all()
    except (OSError, ValueError) as error:  # pa.ArrowInvalid is one
        raise DataError(f"{path}: cannot be read: {reason_of(error)}", hint=MADE_AGAIN) from error
    if not any(table.schema.equals(schema) for schema in schemas):
        raise DataError(f"{path}: has other columns than {', '.join(schemas[0].names)}", hint=MADE_AGAIN)
    return file, table
