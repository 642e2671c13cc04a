"""The loss of samples packed into rows: what the training loop asks of the network.

Shapes: P packed rows, T positions of a row, F frames, M media, N target tokens, C channels.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import LlavaForConditionalGeneration
from transformers.utils.generic import ModelOutput

from aurora_cli.config.merging import TokenMerging
from aurora_cli.errors import DataError
from aurora_cli.models import packed_attention
from aurora_cli.models.layers.lm_head import TeacherStates, label_mask, mean_loss
from aurora_cli.models.multimodal_inputs import splice
from aurora_cli.models.visual_tokens import CachedFeatures, frame_features, project_features, tokens_per_frame


class PackedRows(NamedTuple):
    """Rows in which every visual token has its position already."""

    input_ids: Tensor
    """(P, T) int64; the image token's id at every position of a visual token."""

    position_ids: Tensor
    """(P, T) int64, from 0 in each sample."""

    segment_ids: Tensor
    """(P, T) int64: numbers the samples of a row from 1 on; 0 in the padding."""

    labels: Tensor
    """(P, T) int64; -100 where a token is no target, as every sample's first."""

    pixel_values: Tensor | None
    """(F, 3, H, W), all frames in reading order; without those that are cached."""

    media_lengths: Tensor | None
    """(M,) int64: frames of each medium, in reading order."""

    features: Tensor | None = None
    """(N, hidden) what the tower gave for the cached frames, in reading order."""

    is_cached: Tensor | None = None
    """(frames,) bool: of every frame; none: no features are kept."""

    @property
    def cached(self) -> CachedFeatures | None:
        if self.features is None or self.is_cached is None:
            return None
        return CachedFeatures(self.is_cached.tolist(), self.features)

    @property
    def lengths(self) -> list[int]:
        """`media_lengths` as a list.

        Raises:
            DataError: they do not count the frames.
        """
        lengths = [] if self.media_lengths is None else self.media_lengths.tolist()
        frames = 0 if self.pixel_values is None else len(self.pixel_values)
        frames += 0 if self.is_cached is None else int(self.is_cached.sum())
        if frames != sum(lengths):
            raise DataError(f"pixel_values has {frames} frames; media_lengths {lengths} has {sum(lengths)}")
        return lengths


@dataclass
class PackedOutput(ModelOutput):
    """What comes of packed rows."""

    loss: Tensor | None = None
    encoded: Tensor | None = None
    """(N, hidden) what the tower gave for the frames that are not cached, in reading order; where some could be."""
    divergence: Tensor | None = None
    """From the teacher, over the same number as the loss, which has its share of it; none: there is none."""


def packed_loss(
    network: LlavaForConditionalGeneration,
    rows: PackedRows,
    merging: TokenMerging,
    num_items: float | Tensor | None = None,
    *,
    always_encode: bool = False,
    teacher: TeacherStates | None = None,
) -> PackedOutput:
    """The sum of the cross-entropies of the rows' target tokens over `num_items`; none: over their number. With
    `teacher`, the divergence from it beside, by its weight.

    `always_encode` as in `frame_features`: where ranks share weights or gradients, one without frames takes part in
    what the others do for theirs.

    Raises:
        DataError: the rows have not as many positions for visual tokens as their frames have tokens.
    """
    hidden_PTC, encoded = _read(network, rows, merging, always_encode=always_encode)
    is_target_PT, targets_N = label_mask(rows.labels)
    hidden_NC = hidden_PTC[is_target_PT]
    if teacher is None:
        return PackedOutput(
            loss=mean_loss(network.lm_head(hidden_NC, targets_N), targets_N, num_items), encoded=encoded
        )
    loss, apart = mean_loss(network.lm_head(hidden_NC, targets_N, teacher), targets_N, num_items).unbind()
    return PackedOutput(loss=loss + teacher.weight * apart, encoded=encoded, divergence=apart)


def target_states(
    network: LlavaForConditionalGeneration, rows: PackedRows, merging: TokenMerging, *, always_encode: bool = False
) -> Tensor:
    """(N, C): the last hidden state at each target token of the rows, in reading order; `always_encode` and the error
    as in `packed_loss`."""
    hidden_PTC, _ = _read(network, rows, merging, always_encode=always_encode)
    return hidden_PTC[label_mask(rows.labels)[0]]


def _read(
    network: LlavaForConditionalGeneration, rows: PackedRows, merging: TokenMerging, *, always_encode: bool
) -> tuple[Tensor, Tensor | None]:
    """The last hidden state of every position, and what the tower gave as `PackedOutput.encoded`."""
    config: Any = network.config
    is_visual_PT = rows.input_ids == config.image_token_id
    # The image token may lie outside the vocabulary: the embedding table stays as the language model has it.
    embeds_PTC = network.get_input_embeddings()(rows.input_ids.masked_fill(is_visual_PT, 0))
    lengths = rows.lengths
    tokens_F = tokens_per_frame(config, rows.pixel_values, lengths, merging)
    _check_positions(is_visual_PT, len(tokens_F), sum(tokens_F))
    encoded = None
    if tokens_F or always_encode:
        frames = (network.model, config, rows.pixel_values, lengths, merging)
        features = frame_features(*frames, always_encode, rows.cached)
        encoded = features.encoded
        embeds_PTC = splice(embeds_PTC, is_visual_PT, project_features(*frames, features))
    return read_packed(network.model.language_model, embeds_PTC, rows.position_ids, rows.segment_ids), encoded


def read_packed(language_model: Any, embeds_PTC: Tensor, position_ids_PT: Tensor, segment_ids_PT: Tensor) -> Tensor:
    """(P, T, C): the last hidden state, each sample read as if it were alone."""
    extra: dict[str, Any] = {}
    mask: Tensor | None = None
    if language_model.config._attn_implementation == packed_attention.NAME and not _slides(language_model.config):
        extra["segments"] = packed_attention.segments_of(segment_ids_PT)
        # A mask of four dimensions is handed through as it is: none as large as the row squared gets built.
        mask = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=embeds_PTC.device)
    # Without segments, transformers finds the samples itself where the positions start again.
    outputs = language_model(
        inputs_embeds=embeds_PTC, attention_mask=mask, position_ids=position_ids_PT, use_cache=False, **extra
    )
    return outputs.last_hidden_state


def _check_positions(is_visual_PT: Tensor, frames: int, expected: int) -> None:
    positions_P = is_visual_PT.sum(dim=1).tolist()
    if sum(positions_P) != expected:
        raise DataError(
            f"the rows have {positions_P} positions for visual tokens, {sum(positions_P)} in all; "
            f"their {frames} frames have {expected} tokens"
        )


def _slides(config: Any) -> bool:
    """Whether a layer attends within a window, which only transformers' own masks know of."""
    return any(kind != "full_attention" for kind in getattr(config, "layer_types", None) or ()) or (
        not getattr(config, "layer_types", None) and getattr(config, "sliding_window", None) is not None
    )
