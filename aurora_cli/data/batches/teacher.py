"""A micro-batch's samples a second time, at the ratio of `train.distill_ratio`, for its targets to learn from.

Rows stay rows and samples keep their order, so that targets meet by counting them; shapes as in `collator`.
"""

from collections.abc import Sequence

import numpy as np
import torch

from aurora_cli.config.merging import TokenMerging
from aurora_cli.constants import IGNORE_INDEX
from aurora_cli.data.batches.collator import Batch, TeacherRows, TokenCounts, TrainingSample, collate


def with_teacher(
    batch: Batch,
    packs: Sequence[Sequence[TrainingSample]],
    *,
    image_token_id: int,
    token_counts: TokenCounts,
    merging: TokenMerging | None,
    pack_tokens: int,
) -> Batch:
    """The batch of these packs with `teacher`, where frames become so many tokens.

    A sample that no pack holds there, of `pack_tokens`, is not trained on there, and teaches nothing.
    """
    fits = [[_length(sample, token_counts) <= pack_tokens for sample in pack] for pack in packs]
    there = [
        [sample._replace(frames=None) for sample, is_there in zip(pack, of_pack, strict=True) if is_there]
        for pack, of_pack in zip(packs, fits, strict=True)
    ]
    rows = collate(there, image_token_id=image_token_id, token_counts=token_counts, merging=merging)
    has_frames = None
    if not all(map(all, fits)):
        flat = [is_there for of_pack in fits for is_there in of_pack]
        frames = [sum(sample.media_lengths) for pack in packs for sample in pack]
        has_frames = torch.from_numpy(np.repeat(flat, frames))
    return batch._replace(teacher=TeacherRows(rows, _has_teacher(batch, fits), has_frames))


def _length(sample: TrainingSample, token_counts: TokenCounts) -> int:
    frames = sum(sample.media_lengths)
    return len(sample.input_ids) - frames + sum(token_counts.per_frame(sample.media_lengths))


def _has_teacher(batch: Batch, fits: Sequence[Sequence[bool]]) -> torch.Tensor:
    row_N, column_N = torch.nonzero(batch.labels[:, 1:] != IGNORE_INDEX, as_tuple=True)
    sample_N = batch.segment_ids[row_N, column_N + 1] - 1  # of its row; no sample's first token is a target
    starts_P = torch.tensor([0, *np.cumsum([len(of_pack) for of_pack in fits])[:-1]])
    flat = torch.tensor([is_there for of_pack in fits for is_there in of_pack], dtype=torch.bool)
    return flat[starts_P[row_N] + sample_N]
