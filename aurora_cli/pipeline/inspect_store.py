"""`aurora inspect SHARD|MERGED|TOKENIZED`: what a token store holds. Counts come from summaries, not from tokens."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from aurora_cli.config.workspace import Workspace
from aurora_cli.data.archives import MediaRoot
from aurora_cli.data.shards import Row, Summary, TokenStore, open_store
from aurora_cli.errors import DataError
from aurora_cli.pipeline.result import Result
from aurora_cli.pipeline.samples import Sample, sample_of
from aurora_cli.pipeline.shard_folder import SHARDS, TOKENIZER, is_complete, part_name, shard_manifests

BAR = 40
"""Characters of the histogram's longest bar."""


@dataclass(frozen=True)
class StoreReport(Result):
    """What `aurora inspect` found in a token store."""

    path: str
    kind: str
    """shard, merged or tokenized."""
    rows: int
    tokens: int
    """A picture or frame counts one."""
    taught_share: float
    """Of the tokens."""
    lengths: dict[str, float]
    """min, median, mean, p95, max of tokens a row."""
    histogram: dict[str, int]
    """Rows by length, in doubling bins."""
    media: int
    """Pictures and clips of all rows."""
    clips: int
    frames: int
    """Pictures, and frames of clips."""
    without_media: int
    """Rows of text alone."""
    read: int
    rejected: dict[str, int]
    """Records by reason."""
    settings: dict[str, Any]
    complete: bool
    """False: `tokenize` has not made all shards yet."""
    sample: Sample | None
    sample_media: dict[str, bool]
    """Whether each picture or clip of the sample is there."""

    def lines(self) -> list[str]:
        lines = [f"{self.path}: {self.kind}, {self.rows:,} rows of {self.read:,} records"]
        if not self.complete:
            lines.append("  not complete: aurora tokenize goes on with it")
        lines.append("  " + ", ".join(f"{name} {value}" for name, value in self.settings.items()))
        lines.append(f"  {self.tokens:,} tokens, {self.taught_share:.1%} taught")
        lines.append("  length of a row: " + ", ".join(f"{name} {value:,g}" for name, value in self.lengths.items()))
        highest = max(self.histogram.values(), default=0)
        for name, count in self.histogram.items():
            lines.append(f"  {name:>13} {count:>10,} {'#' * -(-BAR * count // highest) if highest else ''}")
        lines.append(
            f"  {self.media:,} pictures and clips ({self.clips:,} clips), {self.frames:,} frames, "
            f"{self.without_media:,} rows of text alone"
        )
        rejected = ", ".join(f"{reason} {count:,}" for reason, count in sorted(self.rejected.items()))
        lines.append(f"  rejected: {rejected or 'none'}")
        if self.sample is not None:
            lines += ["  the first row:", *(f"  {line}" for line in self.sample.lines())]
        lines += [f"    {name}: {'found' if there else 'MISSING'}" for name, there in self.sample_media.items()]
        return lines


def inspect_store(folder: Path, workspace: Workspace) -> StoreReport:
    """Report on one shard or merged folder."""
    kind = "merged" if "parts" in (store := open_store(folder)).manifest else "shard"
    beside = folder if kind == "merged" else folder.parent.parent
    return report(folder, kind, [store], beside / TOKENIZER, workspace, complete=True)


def inspect_tokenized(folder: Path, workspace: Workspace) -> StoreReport:
    """Report on all shards of a folder that `tokenize` writes."""
    manifests = shard_manifests(folder)
    if not manifests:
        raise DataError(f"{folder}: holds no whole shard", hint="aurora tokenize")
    stores = [open_store(folder / SHARDS / part_name(index)) for index in manifests]
    complete = is_complete(folder, manifests)
    return report(folder, "tokenized", stores, folder / TOKENIZER, workspace, complete=complete)


def report(
    folder: Path, kind: str, stores: list[TokenStore], tokenizer: Path, workspace: Workspace, *, complete: bool
) -> StoreReport:
    summaries = [store.summary() for store in stores]
    summary = Summary(*(np.concatenate(columns) for columns in zip(*summaries, strict=True)))
    tokens = int(summary.length.sum(dtype=np.int64))
    rejected: dict[str, int] = {}
    for store in stores:
        for reason, count in store.manifest["counts"]["rejected"].items():
            rejected[reason] = rejected.get(reason, 0) + count
    manifest = stores[0].manifest
    store = next((store for store in stores if store.num_rows), None)
    row = store.rows([0])[0] if store else None
    has_tokenizer = tokenizer.is_file()
    return StoreReport(
        path=str(folder),
        kind=kind,
        rows=len(summary.length),
        tokens=tokens,
        taught_share=int(summary.taught.sum(dtype=np.int64)) / max(1, tokens),
        lengths=spread(summary.length),
        histogram=histogram(summary.length),
        media=int(summary.media.sum(dtype=np.int64)),
        clips=int(summary.clips.sum(dtype=np.int64)),
        frames=int(summary.frames.sum(dtype=np.int64)),
        without_media=int((summary.media == 0).sum()),
        read=sum(store.manifest["counts"]["read"] for store in stores),
        rejected=rejected,
        settings={name: manifest[name] for name in ("tokenizer", "template", "max_length", "frames")},
        complete=complete,
        sample=sample_of(row, Tokenizer.from_file(str(tokenizer))) if row and has_tokenizer else None,
        sample_media=media_state(row, workspace.path(store.media_root(0))) if row and store else {},
    )


def spread(lengths: np.ndarray) -> dict[str, float]:
    if not len(lengths):
        return {}
    middle, high = np.percentile(lengths, [50, 95])
    values = {"min": lengths.min(), "median": middle, "mean": lengths.mean(), "p95": high, "max": lengths.max()}
    return {name: round(float(value), 1) for name, value in values.items()}


def histogram(lengths: np.ndarray) -> dict[str, int]:
    """Rows by length, each bin twice as wide as the one before.

    >>> histogram(np.array([1, 5, 20, 40]))
    {'1-15': 2, '16-31': 1, '32-63': 1}
    """
    if not len(lengths):
        return {}
    edges = [1, 16]
    while edges[-1] <= lengths.max():
        edges.append(edges[-1] * 2)
    counts, _ = np.histogram(lengths, edges)
    names = [f"{start}-{stop - 1}" for start, stop in pairwise(edges)]
    return dict(zip(names, counts.tolist(), strict=True))


def media_state(row: Row, root: Path) -> dict[str, bool]:
    names = [*(row.image or ()), *([row.video] if row.video else ())]
    folder = MediaRoot(root)
    return {name: folder.exists(name) for name in names}
