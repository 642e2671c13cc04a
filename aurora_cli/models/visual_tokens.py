"""From pixels to visual tokens: the tower, which merges, and the projector.

Shapes: F frames, M media, N visual tokens of all frames, C channels of the language model.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import LlavaModel

from aurora_cli.config.merging import TokenMerging
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
    if pixels_F3HW is None or not len(pixels_F3HW):
        return []
    height, width = pixels_F3HW.shape[-2:]
    return config.frame_token_counts(height, width, merging).per_frame(media_lengths)


def embed_frames(
    model: LlavaModel,
    config: AuroraCapConfig,
    pixels_F3HW: Tensor | None,
    media_lengths: Sequence[int],
    merging: TokenMerging,
    always_encode: bool = False,
) -> Tensor:
    """Visual tokens (N, C) as the language model reads them, of all frames in reading order.

    `always_encode` runs the tower once for each kind of frame (merged; with slow-fast, whole) that is not there, on a
    frame of one patch. What comes of it stands behind the N tokens, where nothing reads it.
    """
    is_whole_F = whole_frames(media_lengths, merging.slowfast)
    kinds = [(True, WHOLE), (False, merging)] if merging.slowfast else [(False, merging)]
    features: list[Tensor] = []
    surplus: list[Tensor] = []
    for kind, kind_merging in kinds:
        frames = [frame for frame, is_whole in enumerate(is_whole_F) if is_whole == kind]
        if frames and pixels_F3HW is not None:
            pixels = pixels_F3HW if len(frames) == len(is_whole_F) else pixels_F3HW[frames]
            features.append(encode_frames(model, config, pixels, kind_merging).flatten(0, 1))
        elif always_encode:
            surplus.append(encode_frames(model, config, _smallest_frame(model), WHOLE).flatten(0, 1))
    visual_NC = model.multi_modal_projector(torch.cat(features + surplus))
    if len(features) < 2 or pixels_F3HW is None:
        return visual_NC
    height, width = pixels_F3HW.shape[-2:]
    order_N = in_reading_order(is_whole_F, config.frame_token_counts(height, width, merging))
    real_NC = visual_NC[: len(order_N)].index_select(0, order_N.to(visual_NC.device))
    return torch.cat([real_NC, visual_NC[len(order_N) :]])


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
