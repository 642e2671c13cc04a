"""From samples to tensors: placeholders expanded to their exact number of tokens, packs padded to one length.

Shapes: P packs (rows), T positions, F frames, M media, S side of a frame.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch

from aurora_cli.config.merging import TokenMerging
from aurora_cli.config.section import FixedPrecision
from aurora_cli.constants import IGNORE_INDEX, IMAGE_PLACEHOLDER
from aurora_cli.data.features.space import FeatureForm
from aurora_cli.runs.lines import Rejection

SHORTEST_ROW = 2
"""Positions of a micro-batch that holds nothing: the label shift takes one away."""


DTYPES: dict[FixedPrecision, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TokenCounts(Protocol):
    """Language-model tokens that frames become; `models.merge_plan.FrameTokenCounts` is it. It goes to the workers."""

    def per_frame(self, media_lengths: Sequence[int]) -> list[int]:
        """Of every frame, in reading order, by the lengths of media in frames."""
        ...

    def in_all(self, frames: np.ndarray, videos: np.ndarray) -> np.ndarray:
        """Of all frames of a sample, so many of which are the first of a video; for many samples at once."""
        ...


class TrainingSample(NamedTuple):
    """One conversation with its frames decoded, as the collator takes it."""

    number: int
    """Of the sample in the run's data, all folders counted through."""
    id: str
    input_ids: np.ndarray
    """int32, IMAGE_PLACEHOLDER for every frame."""
    labels: np.ndarray
    media_lengths: list[int]
    frames: np.ndarray | None
    """(F, S, S, 3) uint8, of the media that have no features here; none without media."""
    media: str | None = None
    failure: str | None = None
    """Why the loss leaves the sample out: what was wrong with its media."""
    media_files: int = 0
    """Images, files of frames, and videos that it is made of."""
    keys: tuple[bytes | None, ...] = ()
    """Of each medium, where features are kept: under which."""
    features: tuple[np.ndarray | None, ...] = ()
    """Of each medium the bytes of its features, which stand for its frames; none: it has frames."""


class Batch(NamedTuple):
    """One micro-batch."""

    input_ids: torch.Tensor
    """(P, T) int64; the image token's id at visual positions."""
    position_ids: torch.Tensor
    """(P, T), from 0 in each sample."""
    segment_ids: torch.Tensor
    """(P, T); 0 padding, 1.. the sample within its pack."""
    labels: torch.Tensor
    """(P, T); IGNORE_INDEX where a token is no target, as on every sample's first token."""
    pixel_values: torch.Tensor | None
    """(F, 3, S, S) float32; on its way from a loader's worker (F, S, S, 3) uint8, a quarter of the bytes. Of the frames
    that are not cached."""
    media_lengths: torch.Tensor | None
    """(M,) frames of each medium, in reading order."""
    sample_ids: list[int]
    target_tokens: int
    """Labels that count, media failures left out."""
    text_tokens: int
    visual_tokens: int
    positions: int
    """P x T, padding included."""
    media_files: int
    """That its samples are made of, those that cannot be read among them."""
    rejected: list[Rejection]
    """Samples that the loss leaves out."""
    merging: TokenMerging | None = None
    """How its frames merge; none: as the network's config says."""
    teacher: "TeacherRows | None" = None
    """Its samples at `train.distill_ratio`; none: the step learns nothing from there."""
    features: torch.Tensor | None = None
    """(N, C) what the projector reads of the cached frames, in reading order; none where no features are kept."""
    is_cached: torch.Tensor | None = None
    """(frames,) bool: of every frame, whether its features are here instead of its pixels; none as `features`."""
    media_keys: list[bytes | None] | None = None
    """Of each medium, under which its features are kept; none: under nothing."""


class TeacherRows(NamedTuple):
    """The samples of a micro-batch, in its order, at a larger kept ratio; those that fit into a pack there.

    A sample's target tokens are the same at every ratio. In reading order, the targets of these rows are therefore,
    one for one, those of the micro-batch that `has_teacher` marks, wherever either stand.
    """

    batch: Batch
    """Its rows hold the samples of the micro-batch's rows, and may be longer than a pack. Its frames are the
    micro-batch's (`pixel_values` is none)."""
    has_teacher: torch.Tensor
    """(N,) bool: of every target of the micro-batch, in reading order."""
    has_frames: torch.Tensor | None
    """(F,) bool: of every frame of the micro-batch, whether it is one of these rows'; none: all are."""


def collate(
    packs: Sequence[Sequence[TrainingSample]],
    *,
    image_token_id: int,
    token_counts: TokenCounts,
    form: FeatureForm | None = None,
    merging: TokenMerging | None = None,
) -> Batch:
    """Each pack a row, padded at its end to the longest; `pixel_values` still uint8, channels last.

    `merging` is what gives so many tokens; none: the network's own. `form`: of the samples' features, where features
    are kept.
    """
    rows = [_row(pack, image_token_id, token_counts) for pack in packs]
    length = max(SHORTEST_ROW, *(len(row.input_ids) for row in rows))
    samples = [sample for pack in packs for sample in pack]
    labels = _padded([row.labels for row in rows], length, IGNORE_INDEX)
    frames = [sample.frames for sample in samples if sample.frames is not None]
    media_lengths = [frames for sample in samples for frames in sample.media_lengths]
    visual_tokens = sum(row.visual_tokens for row in rows)
    kept = _Kept() if form is None or not media_lengths else _kept(samples, form)
    return Batch(
        input_ids=_padded([row.input_ids for row in rows], length, 0),
        position_ids=_padded([row.position_ids for row in rows], length, 0),
        segment_ids=_padded([row.segment_ids for row in rows], length, 0),
        labels=labels,
        pixel_values=torch.from_numpy(np.concatenate(frames)) if frames else None,
        media_lengths=torch.tensor(media_lengths, dtype=torch.int64) if media_lengths else None,
        sample_ids=[sample.number for sample in samples],
        target_tokens=int((labels[:, 1:] != IGNORE_INDEX).sum()),
        text_tokens=sum(len(row.input_ids) for row in rows) - visual_tokens,
        visual_tokens=visual_tokens,
        positions=labels.numel(),
        media_files=sum(sample.media_files for sample in samples),
        rejected=[
            Rejection(sample.number, sample.id, sample.media, sample.failure)
            for sample in samples
            if sample.failure is not None
        ],
        **kept._asdict(),
        merging=merging,
    )


class _Kept(NamedTuple):
    """The fields of a batch that are about kept features."""

    features: torch.Tensor | None = None
    is_cached: torch.Tensor | None = None
    media_keys: list[bytes | None] | None = None


def _kept(samples: Sequence[TrainingSample], form: FeatureForm) -> _Kept:
    keys: list[bytes | None] = []
    is_cached: list[bool] = []
    found: list[np.ndarray] = []
    for sample in samples:
        nothing = (None,) * len(sample.media_lengths)
        keys += sample.keys or nothing
        for length, features in zip(sample.media_lengths, sample.features or nothing, strict=True):
            is_cached += [features is not None] * length
            if features is not None:
                found.append(features)
    dtype = DTYPES[form.precision]
    values = torch.from_numpy(np.concatenate(found)).view(dtype) if found else torch.empty(0, dtype=dtype)
    return _Kept(values.view(-1, form.width), torch.tensor(is_cached), keys)


class _Row(NamedTuple):
    input_ids: np.ndarray
    position_ids: np.ndarray
    segment_ids: np.ndarray
    labels: np.ndarray
    visual_tokens: int


def _row(pack: Sequence[TrainingSample], image_token_id: int, token_counts: TokenCounts) -> _Row:
    if not pack:
        nothing = np.zeros(0, np.int64)
        return _Row(nothing, nothing, nothing, nothing, 0)
    input_ids = np.concatenate([sample.input_ids for sample in pack]).astype(np.int64)
    labels = np.concatenate([sample.labels for sample in pack]).astype(np.int64)
    stored = np.array([len(sample.input_ids) for sample in pack])
    starts = np.cumsum(stored) - stored
    has_no_target = np.repeat([sample.failure is not None for sample in pack], stored)
    has_no_target[starts] = True
    labels[has_no_target] = IGNORE_INDEX

    is_frame = input_ids == IMAGE_PLACEHOLDER
    copies = np.ones(len(input_ids), np.int64)
    copies[is_frame] = [tokens for sample in pack for tokens in token_counts.per_frame(sample.media_lengths)]
    labels[is_frame] = IGNORE_INDEX
    input_ids[is_frame] = image_token_id
    lengths = np.add.reduceat(copies, starts)
    position_ids = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    return _Row(
        input_ids=np.repeat(input_ids, copies),
        position_ids=position_ids,
        segment_ids=np.repeat(np.arange(1, len(pack) + 1), lengths),
        labels=np.repeat(labels, copies),
        visual_tokens=int(copies[is_frame].sum()),
    )


def _padded(rows: list[np.ndarray], length: int, filler: int) -> torch.Tensor:
    table = np.full((len(rows), length), filler, np.int64)
    for number, row in enumerate(rows):
        table[number, : len(row)] = row
    return torch.from_numpy(table)
