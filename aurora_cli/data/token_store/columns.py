"""Rows that are ready to be written, as columns."""

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from aurora_cli.data.token_store.entries import Counts
from aurora_cli.data.token_store.rejected import RejectedRecord
from aurora_cli.data.token_store.schema import SPAN, TARGET_TOKENS


class EncodedRecords(NamedTuple):
    """Rows in input order, as columns; the tokens of all rows one after the other."""

    id: list[str]
    image: list[list[str] | None]
    video: list[str | None]
    media_lengths: list[list[int]]
    length: list[int]
    """Tokens of each row."""
    target_tokens: list[int]
    """Tokens of each row that have a label."""
    input_ids: np.ndarray
    labels: np.ndarray
    """int32, both."""
    rejected: list[RejectedRecord]
    span: list[tuple[float, float] | None] | None = None
    """The part of its video that each row is about, in seconds; none: no row has one."""
    keys_read: Mapping[str, int] = {}
    keys_warned: Mapping[str, int] = {}
    """Records by the keys that they have, of media, times, weights and roles: those read, and those not."""
    animated: int = 0
    """Rows with an image of several frames; only counted where media are looked at."""
    group: list[str | None] | None = None
    """What each row lies on one side of a split with; none: no row says so."""


class EncodedChunk(NamedTuple):
    """What became of a chunk of records."""

    shard: int
    source: int
    """Number of the file among the inputs."""
    ends_shard: bool
    """Whether it is the last of its shard."""
    read: int
    """Records."""
    first_line: int
    last_line: int
    rows: pa.RecordBatch
    summary: pa.RecordBatch
    rejected: list[RejectedRecord]
    keys_read: Mapping[str, int] = {}
    keys_warned: Mapping[str, int] = {}
    animated: int = 0

    def counts(self) -> Counts:
        """What the shard's manifest says of it."""
        return Counts(
            read=self.read,
            kept=self.rows.num_rows,
            tokens=int(self.summary.column("length").to_numpy().sum(dtype=np.int64)),
            target_tokens=int(self.summary.column(TARGET_TOKENS).to_numpy().sum(dtype=np.int64)),
            rejected=Counter(record.reason for record in self.rejected),
            spans=self.rows.num_rows - self.rows.column(SPAN).null_count if SPAN in self.rows.schema.names else 0,
            keys_read=dict(self.keys_read),
            keys_warned=dict(self.keys_warned),
            animated=self.animated,
        )
