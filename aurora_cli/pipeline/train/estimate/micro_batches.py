"""How large the micro-batches of a run are: of its very packs where the data is there, else full ones."""

import numpy as np

from aurora_cli.config.settings import Settings
from aurora_cli.data.batches.collator import SHORTEST_ROW
from aurora_cli.data.batches.training_data import TrainingData
from aurora_cli.data.token_store.store import Summary, open_store
from aurora_cli.models.auroracap import AuroraCapConfig
from aurora_cli.pipeline.train.estimate.trace import MicroBatchSize, largest

LOOKED_AT = 10_000
"""Micro-batches at most: behind so many come no other kinds."""


def sizes_of(data: TrainingData, settings: Settings) -> tuple[MicroBatchSize, ...]:
    """The largest of a run's micro-batches, each in its own way."""
    micro = settings.train.micro_batch_packs
    summaries = [open_store(store.folder).summary() for store in data.corpus.stores]
    table = Summary(*(np.concatenate(columns) for columns in zip(*summaries, strict=True)))
    sizes = set()
    for first in range(0, min(data.total_packs, LOOKED_AT * micro), micro):
        packs = [data.row.pack(position) for position in range(first, min(first + micro, data.total_packs))]
        samples = np.concatenate(packs)
        positions = max(int(data.corpus.lengths[pack].sum(dtype="int64")) for pack in packs)
        if data.plan.batching != "packed":
            positions = int(data.corpus.lengths[samples].max())
        frames = int(data.corpus.frames[samples].sum())
        whole = int(table.videos[samples].sum()) if settings.merging.slowfast else 0
        targets = int(table.target_tokens[samples].sum())
        sizes.add(MicroBatchSize(micro, max(SHORTEST_ROW, positions), frames - whole, whole, targets))
    return largest(list(sizes))


def full_size(config: AuroraCapConfig, settings: Settings) -> MicroBatchSize:
    """Of packs full of images, every second other token a target, at most; for want of data."""
    train, side = settings.train, settings.model.image_size
    tokens = train.micro_batch_packs * train.pack_tokens
    a_frame = max(1, config.frame_token_counts(side, side, settings.merging).merged)
    frames = min(train.micro_batch_packs * train.pack_frames, tokens // a_frame)
    return MicroBatchSize(train.micro_batch_packs, train.pack_tokens, frames, 0, tokens // 2)
