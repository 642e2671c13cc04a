"""From token ids with a placeholder a frame to what the language model reads.

Shapes: B rows, T tokens of a row, F frames, M media (an image, or a video of several frames), N visual tokens,
C channels of the language model.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from aurora_cli.constants import IGNORE_INDEX, IMAGE_PLACEHOLDER
from aurora_cli.errors import DataError


class Expanded(NamedTuple):
    """Rows in which every visual token has its own position."""

    input_ids: Tensor
    """(B, T) int64; 0 where a visual token goes and in the padding."""

    is_visual: Tensor
    """(B, T) bool; where the visual tokens go, in reading order."""

    attention_mask: Tensor
    """(B, T) bool; false in the padding."""

    position_ids: Tensor
    """(B, T) int64; they start at 0 with the row's first token."""

    labels: Tensor | None
    """(B, T) int64; -100 at visual tokens and in the padding."""


def media_of_rows(placeholders: Sequence[int], frames: int, media_lengths: Tensor | Sequence[int] | None) -> list[int]:
    """Check the frames against the rows' placeholders; the lengths of all media, one a row where they are not given.

    >>> media_of_rows([1, 0, 8], frames=9, media_lengths=None)
    [1, 8]
    """
    if media_lengths is None:
        media_lengths = [count for count in placeholders if count > 0]
    elif isinstance(media_lengths, Tensor):
        media_lengths = media_lengths.tolist()
    if any(length < 1 for length in media_lengths):
        raise DataError(f"media_lengths is {list(media_lengths)}; every medium has at least one frame")
    medium = 0
    for row, count in enumerate(placeholders):
        first, covered = medium, 0
        while covered < count and medium < len(media_lengths):
            covered += media_lengths[medium]
            medium += 1
        if covered != count:
            raise DataError(
                f"sample {row} has {count} placeholders ({IMAGE_PLACEHOLDER}), but its media have "
                f"{list(media_lengths[first:medium])} frames: one placeholder a frame is expected"
            )
    if medium < len(media_lengths):
        raise DataError(
            f"media_lengths has {len(media_lengths)} media, of which the last {len(media_lengths) - medium} "
            f"have no placeholder ({IMAGE_PLACEHOLDER}): sample {len(placeholders) - 1} ends before them"
        )
    if sum(media_lengths) != frames:
        raise DataError(
            f"pixel_values has {frames} frames; the {len(placeholders)} samples have {list(placeholders)} placeholders "
            f"({IMAGE_PLACEHOLDER}), which is {sum(media_lengths)}{_first_without(placeholders, frames)}"
        )
    return list(media_lengths)


def expand_placeholders(
    input_ids_BT: Tensor,
    attention_mask_BT: Tensor | None,
    labels_BT: Tensor | None,
    *,
    tokens_of_frames: Sequence[int],
    pad_side: Literal["left", "right"],
) -> Expanded:
    """Give every frame as many positions as it has visual tokens, drop the rows' padding and pad them anew."""
    rows = _real_tokens(input_ids_BT, attention_mask_BT)
    tokens_F = torch.as_tensor(tokens_of_frames, dtype=torch.long)
    ids: list[Tensor] = []
    visual: list[Tensor] = []
    labels: list[Tensor] = []
    used = 0
    for row, real in enumerate(rows):
        row_ids = input_ids_BT[row, real].cpu()
        is_frame = row_ids == IMAGE_PLACEHOLDER
        frames = int(is_frame.sum())
        repeats = torch.ones_like(row_ids)
        repeats[is_frame] = tokens_F[used : used + frames]
        used += frames
        ids.append(row_ids.masked_fill(is_frame, 0).repeat_interleave(repeats))
        visual.append(is_frame.repeat_interleave(repeats))
        if labels_BT is not None:
            row_labels = labels_BT[row, real].cpu().masked_fill(is_frame, IGNORE_INDEX)
            labels.append(row_labels.repeat_interleave(repeats))

    device = input_ids_BT.device
    lengths_B1 = torch.tensor([len(row_ids) for row_ids in ids])[:, None]
    width = int(lengths_B1.max())
    index_T = torch.arange(width)
    starts_B1 = width - lengths_B1 if pad_side == "left" else torch.zeros_like(lengths_B1)
    attention = (index_T >= starts_B1) & (index_T < starts_B1 + lengths_B1)
    positions = (index_T - starts_B1).clamp(min=0) * attention
    return Expanded(
        _padded(ids, attention, 0).to(device),
        _padded(visual, attention, False).to(device),
        attention.to(device),
        positions.to(device),
        _padded(labels, attention, IGNORE_INDEX).to(device) if labels_BT is not None else None,
    )


def count_placeholders(input_ids_BT: Tensor, attention_mask_BT: Tensor | None) -> list[int]:
    """Frames that each row has placeholders for."""
    is_frame_BT = input_ids_BT == IMAGE_PLACEHOLDER
    if attention_mask_BT is not None:
        is_frame_BT = is_frame_BT & attention_mask_BT.bool()
    return is_frame_BT.sum(dim=1).tolist()


def splice(text_BTC: Tensor, is_visual_BT: Tensor, visual_NC: Tensor) -> Tensor:
    """Put the visual tokens, in reading order, where the mask says; tokens too many stay out, with gradient zero."""
    return text_BTC.masked_scatter(is_visual_BT[..., None], visual_NC.to(text_BTC.dtype))


def _real_tokens(input_ids_BT: Tensor, attention_mask_BT: Tensor | None) -> list[Tensor]:
    if attention_mask_BT is None:
        return [torch.ones_like(row, dtype=torch.bool) for row in input_ids_BT]
    if attention_mask_BT.shape != input_ids_BT.shape:
        raise DataError(
            f"attention_mask has the shape {tuple(attention_mask_BT.shape)}; input_ids has {tuple(input_ids_BT.shape)}"
        )
    return list(attention_mask_BT.bool())


def _padded(rows: list[Tensor], real_BT: Tensor, fill: int | bool) -> Tensor:
    padded_BT = torch.full(real_BT.shape, fill, dtype=rows[0].dtype)
    padded_BT[real_BT] = torch.cat(rows)
    return padded_BT


def _first_without(placeholders: Sequence[int], frames: int) -> str:
    """Names the sample whose placeholders run out of frames."""
    seen = 0
    for row, count in enumerate(placeholders):
        seen += count
        if seen > frames:
            return f": sample {row} is the first without enough"
    return f": {frames - seen} frames are left behind sample {len(placeholders) - 1}"
