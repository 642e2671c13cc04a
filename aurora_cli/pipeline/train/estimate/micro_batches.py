"""How large the micro-batches of a run are: of its very packs where the data is there, else full ones."""

import numpy as np

from aurora_cli.config.settings import Settings
from aurora_cli.data.batches.collator import SHORTEST_ROW
from aurora_cli.data.batches.training_data import TrainingData
from aurora_cli.models.auroracap import AuroraCapConfig
from aurora_cli.pipeline.train.estimate.trace import MicroBatchSize, largest

LOOKED_AT = 10_000
"""Micro-batches at most: behind so many come no other kinds."""


def sizes_of(data: TrainingData, settings: Settings) -> tuple[MicroBatchSize, ...]:
    """The largest of a run's micro-batches, each in its own way."""
    micro = settings.train.micro_batch_packs
    found: list[MicroBatchSize] = []
    for ratio, (row, end) in enumerate(zip(data.rows, data.ends, strict=True)):
        looked_at = range(0, min(end, LOOKED_AT * micro // len(data.rows)), micro)
        batches = [[row.pack(position) for position in range(first, min(first + micro, end))] for first in looked_at]
        if not batches:
            continue
        summary = data.corpus.summary_of(np.concatenate([pack for packs in batches for pack in packs]))
        sizes, stop = set(), 0
        for packs in batches:
            samples = np.concatenate(packs)
            lengths = [data.corpus.lengths_at(pack, ratio) for pack in packs]
            positions = max(int(of_pack.sum(dtype="int64")) for of_pack in lengths)
            if data.plan.batching != "packed":
                positions = int(np.concatenate(lengths).max())
            frames = int(data.corpus.frames[samples].sum())
            own = slice(stop, stop := stop + len(samples))
            whole = int(summary.videos[own].sum()) if settings.merging.slowfast else 0
            targets = int(summary.target_tokens[own].sum())
            rows = max(SHORTEST_ROW, positions)
            sizes.add(MicroBatchSize(micro, rows, frames - whole, whole, targets, settings.merging.mergings[ratio]))
        found += largest(list(sizes))
    return tuple(found)


def full_size(config: AuroraCapConfig, settings: Settings) -> MicroBatchSize:
    """Of packs full of images, every second other token a target, at most; for want of data. In a mixture, at the
    smallest kept ratio, where most frames go into a pack."""
    train, side, merging = settings.train, settings.model.image_size, settings.merging.mergings[0]
    tokens = train.micro_batch_packs * train.pack_tokens
    a_frame = max(1, config.frame_token_counts(side, side, merging).merged)
    frames = min(train.micro_batch_packs * train.pack_frames, tokens // a_frame)
    return MicroBatchSize(train.micro_batch_packs, train.pack_tokens, frames, 0, tokens // 2, merging)
