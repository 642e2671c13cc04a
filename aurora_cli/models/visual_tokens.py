"""From pixels to visual tokens: the tower, which merges, and the projector.

Shapes: F frames, M media, N visual tokens of all frames, C channels of the language model.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import LlavaModel

from aurora_cli.config.merging import TokenMerging
from aurora_cli.errors import DataError
from aurora_cli.models.config import AuroraCapConfig
from aurora_cli.models.merge_plan import WHOLE, FrameTokenCounts, whole_frames
from aurora_cli.models.vision_encoder import encode


def encode_frames(model: LlavaModel, config: AuroraCapConfig, pixels_F3HW: Tensor, merging: TokenMerging) -> Tensor:
    """(F, tokens, hidden): what the projector receives, without the class token."""
    tower: Any = model.vision_tower
    height, width = pixels_F3HW.shape[-2:]
    encoded = encode(tower, pixels_F3HW, config.removals(height, width, merging), merging.proportional_attention)
    return encoded.hidden[:, 1:] if tower.encoder.class_token else encoded.hidden


def tokens_per_frame(
    config: AuroraCapConfig, pixels_F3HW: Tensor | None, media_lengths: Sequence[int], merging: TokenMerging
) -> list[int]:
    """Visual tokens of every frame, in reading order."""
    if pixels_F3HW is None or not media_lengths:
        return []
    height, width = pixels_F3HW.shape[-2:]
    return config.frame_token_counts(height, width, merging).per_frame(media_lengths)


class CachedFeatures(NamedTuple):
    """What the tower gave for some of the frames, at another time."""

    is_cached: Sequence[bool]
    """Of every frame."""
    features: Tensor
    """(tokens, hidden) of those that are, in reading order."""


class FrameFeatures(NamedTuple):
    """What the projector reads of a batch's frames."""

    kinds: list[Tensor]
    """(tokens, hidden) of each kind of frames that is there: whole ones with slow-fast, then merged ones."""
    surplus: list[Tensor]
    """Of frames that stand for a kind that is not."""
    encoded: Tensor | None
    """(tokens, hidden) of the frames that the tower took now, in reading order."""


def embed_frames(
    model: LlavaModel,
    config: AuroraCapConfig,
    pixels_F3HW: Tensor | None,
    media_lengths: Sequence[int],
    merging: TokenMerging,
    always_encode: bool = False,
) -> Tensor:
    """Visual tokens (N, C) as the language model reads them, of all frames in reading order; `always_encode` as in
    `frame_features`.
    """
    features = frame_features(model, config, pixels_F3HW, media_lengths, merging, always_encode)
    return project_features(model, config, pixels_F3HW, media_lengths, merging, features)


def frame_features(
    model: LlavaModel,
    config: AuroraCapConfig,
    pixels_F3HW: Tensor | None,
    media_lengths: Sequence[int],
    merging: TokenMerging,
    always_encode: bool = False,
    cached: CachedFeatures | None = None,
) -> FrameFeatures:
    """What the tower makes of the frames. `cached` ones have no pixels in `pixels_F3HW`, whose sides count.

    `always_encode` runs the tower once for each kind of frame (merged; with slow-fast, whole) that is not there, on a
    frame of one patch. What comes of it stands behind the N tokens, where nothing reads it.
    """
    is_whole_F = whole_frames(media_lengths, merging.slowfast)
    there = {} if cached is None else _by_frame(config, pixels_F3HW, media_lengths, merging, cached)
    row_of = {frame: row for row, frame in enumerate(f for f in range(len(is_whole_F)) if f not in there)}
    new: dict[int, Tensor] = {}
    kinds: list[Tensor] = []
    surplus: list[Tensor] = []
    for is_kind, kind_merging in [(True, WHOLE), (False, merging)] if merging.slowfast else [(False, merging)]:
        frames = [frame for frame, is_whole in enumerate(is_whole_F) if is_whole == is_kind]
        missing = [frame for frame in frames if frame not in there]
        if missing and pixels_F3HW is not None:
            pixels = pixels_F3HW if len(missing) == len(row_of) else pixels_F3HW[[row_of[frame] for frame in missing]]
            encoded_FNC = encode_frames(model, config, pixels, kind_merging)
            if cached is None:
                kinds.append(encoded_FNC.flatten(0, 1))
                continue
            new |= zip(missing, encoded_FNC, strict=True)
        elif always_encode and not frames:
            surplus.append(encode_frames(model, config, _smallest_frame(model), WHOLE).flatten(0, 1))
        elif always_encode and _is_shared(model):
            encode_frames(model, config, _smallest_frame(model), WHOLE)
        if frames:
            both = there | new
            kinds.append(torch.cat([both[frame] for frame in frames]))
    encoded = torch.cat([new[frame] for frame in sorted(new)]).detach() if new else None
    return FrameFeatures(kinds, surplus, encoded)


def project_features(
    model: LlavaModel,
    config: AuroraCapConfig,
    pixels_F3HW: Tensor | None,
    media_lengths: Sequence[int],
    merging: TokenMerging,
    features: FrameFeatures,
) -> Tensor:
    """(N, C): the visual tokens of all frames, in reading order, and what stands behind them."""
    visual_NC = model.multi_modal_projector(torch.cat(features.kinds + features.surplus))
    if len(features.kinds) < 2 or pixels_F3HW is None:
        return visual_NC
    height, width = pixels_F3HW.shape[-2:]
    is_whole_F = whole_frames(media_lengths, merging.slowfast)
    order_N = in_reading_order(is_whole_F, config.frame_token_counts(height, width, merging))
    real_NC = visual_NC[: len(order_N)].index_select(0, order_N.to(visual_NC.device))
    return torch.cat([real_NC, visual_NC[len(order_N) :]])


def _by_frame(
    config: AuroraCapConfig,
    pixels_F3HW: Tensor | None,
    media_lengths: Sequence[int],
    merging: TokenMerging,
    cached: CachedFeatures,
) -> dict[int, Tensor]:
    """Frame -> its features, (tokens, hidden)."""
    tokens_F = tokens_per_frame(config, pixels_F3HW, media_lengths, merging)
    frames = [frame for frame, is_cached in enumerate(cached.is_cached) if is_cached]
    expected = sum(tokens_F[frame] for frame in frames)
    if len(cached.features) != expected:
        raise DataError(f"{len(cached.features)} kept features, where {len(frames)} frames have {expected}")
    return dict(zip(frames, cached.features.split([tokens_F[frame] for frame in frames]), strict=True))


def _is_shared(model: LlavaModel) -> bool:
    """Whether ranks hold the tower's weights together (ZeRO-3 marks them so): then all of them call it, or none."""
    return hasattr(next(model.vision_tower.parameters()), "ds_id")


def in_reading_order(is_whole_F: Sequence[bool], counts: FrameTokenCounts) -> Tensor:
    """(N,): for each visual token in reading order its index in [all whole frames' tokens, all merged frames' tokens].

    >>> in_reading_order([True, False, True], FrameTokenCounts(merged=1, first=2)).tolist()
    [0, 1, 4, 2, 3]
    """
    lengths_F = torch.tensor([counts.first if is_whole else counts.merged for is_whole in is_whole_F])
    order_F = torch.tensor([not is_whole for is_whole in is_whole_F], dtype=torch.int8).argsort(stable=True)
    starts_F = torch.empty_like(lengths_F)
    starts_F[order_F] = lengths_F[order_F].cumsum(0) - lengths_F[order_F]
    reading_starts_F = lengths_F.cumsum(0) - lengths_F
    return torch.arange(int(lengths_F.sum())) + (starts_F - reading_starts_F).repeat_interleave(lengths_F)


def _smallest_frame(model: LlavaModel) -> Tensor:
    side = model.vision_tower.config.patch_size
    return torch.zeros(1, 3, side, side, device=model.device)
