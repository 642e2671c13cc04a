"""Prompts with their visual tokens, as the language model reads them.

Shapes: B rows, T tokens, C channels of the language model, F frames of one row, S their side, N their visual tokens.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from aurora_cli.config.merging import TokenMerging
from aurora_cli.constants import IMAGE_PLACEHOLDER
from aurora_cli.models.auroracap import AuroraCap
from aurora_cli.models.multimodal_inputs import expand_placeholders, media_of_rows, splice
from aurora_cli.models.visual_tokens import embed_frames


class Prompt(NamedTuple):
    """What a row begins with."""

    ids: list[int]
    """With a placeholder (-200) a frame."""
    visual: Tensor
    """(F, 3, S, S) the frames, or (N, C) what tower and projector made of them."""
    merging: TokenMerging
    media_lengths: Sequence[int]
    """Frames of each of its media, in their order."""


class ReadPrompts(NamedTuple):
    """Prompts in one batch, padded in front."""

    embeds_BTC: Tensor
    mask_BT: Tensor
    """bool; false in the padding."""


def length_of(model: AuroraCap, prompt: Prompt) -> int:
    """Tokens that the language model reads."""
    tokens_F = _tokens_of_frames(model, prompt)
    return len(prompt.ids) - len(tokens_F) + sum(tokens_F)


def check_frames(prompts: Sequence[Prompt]) -> None:
    """
    Raises:
        DataError: a prompt has not one placeholder a frame.
    """
    frames = sum(len(each.visual) if each.visual.ndim == 4 else sum(each.media_lengths) for each in prompts)
    placeholders = [each.ids.count(IMAGE_PLACEHOLDER) for each in prompts]
    media_of_rows(placeholders, frames, [length for each in prompts for length in each.media_lengths])


def padded(prompts: Sequence[Sequence[int] | np.ndarray]) -> tuple[Tensor, Tensor]:
    """Ids and mask of prompts, (B, T) int64 each, padded behind."""
    ids_BT = pad_sequence([torch.tensor(prompt, dtype=torch.long) for prompt in prompts], batch_first=True)
    lengths_B1 = torch.tensor([[len(prompt)] for prompt in prompts])
    return ids_BT, (torch.arange(ids_BT.shape[1]) < lengths_B1).long()


def embed_prompts(model: AuroraCap, prompts: Sequence[Prompt]) -> ReadPrompts:
    """What `check_frames` found no fault in, in one batch."""
    ids_BT, mask_BT = padded([prompt.ids for prompt in prompts])
    tokens_F = [tokens for prompt in prompts for tokens in _tokens_of_frames(model, prompt)]
    expanded = expand_placeholders(ids_BT, mask_BT, None, tokens_of_frames=tokens_F, pad_side="left")
    embeds_BTC = model.get_input_embeddings()(expanded.input_ids.to(model.device))
    if tokens_F:
        visual = _visual_tokens(model, prompts)
        embeds_BTC = splice(embeds_BTC, expanded.is_visual.to(embeds_BTC.device), torch.cat(visual))
    return ReadPrompts(embeds_BTC, expanded.attention_mask.to(embeds_BTC.device))


def _visual_tokens(model: AuroraCap, prompts: Sequence[Prompt]) -> list[Tensor]:
    """(N, C) of each prompt. Frames that merge alike go through the tower together."""
    found = [prompt.visual for prompt in prompts]
    alike: dict[tuple[TokenMerging, torch.Size], list[int]] = {}
    for row, prompt in enumerate(prompts):
        if prompt.visual.ndim == 4 and len(prompt.visual):
            alike.setdefault((prompt.merging, prompt.visual.shape[1:]), []).append(row)
    for (merging, _), rows in alike.items():
        pixels = torch.cat([prompts[row].visual for row in rows]).to(model.device, model.dtype)
        lengths = [length for row in rows for length in prompts[row].media_lengths]
        visual_NC = embed_frames(model.model, model.config, pixels, lengths, merging)
        tokens = [sum(_tokens_of_frames(model, prompts[row])) for row in rows]
        for row, visual in zip(rows, visual_NC.split(tokens), strict=True):
            found[row] = visual
    return [visual.to(model.device) for visual, prompt in zip(found, prompts, strict=True) if prompt.media_lengths]


def _tokens_of_frames(model: AuroraCap, prompt: Prompt) -> list[int]:
    vision: Any = model.config.vision_config
    side = prompt.visual.shape[-1] if prompt.visual.ndim == 4 else model.config.image_size or vision.image_size
    return model.config.frame_token_counts(side, side, prompt.merging).per_frame(prompt.media_lengths)
