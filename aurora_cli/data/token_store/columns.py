"""Rows that are ready to be written, as columns."""

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa


class EncodedRecords(NamedTuple):
    """Rows in input order, as columns; the tokens of all rows one after the other."""

    id: list[str]
    image: list[list[str] | None]
    video: list[str | None]
    media_lengths: list[list[int]]
    length: list[int]
    """Tokens of each row."""
    taught: list[int]
    """Tokens of each row that are taught."""
    input_ids: np.ndarray
    labels: np.ndarray
    """int32, both."""
    rejected: list[dict[str, Any]]
    """file, line, id, reason, detail of each record that gave no row."""


class EncodedChunk(NamedTuple):
    """What became of a chunk."""

    shard: int
    source: int
    ends_shard: bool
    read: int
    first_line: int
    last_line: int
    rows: pa.RecordBatch
    summary: pa.RecordBatch
    rejected: list[dict[str, Any]]
