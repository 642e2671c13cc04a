"""The next token of each row: the likeliest one, or one that is drawn by the row's own generator, and its seed.

Shapes: B rows, V words.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from aurora_cli.captioning.result import Part


class Drawing(NamedTuple):
    """How one row's tokens are drawn."""

    temperature: float
    """0: the likeliest token is taken."""
    top_p: float
    generator: torch.Generator
    """On the CPU. One number is drawn of it for each token, whoever else is in the batch."""


def seed_of(seed: int, *names: object) -> int:
    """A seed for what bears these names: the same one, whatever was captioned before or is captioned beside it."""
    return int.from_bytes(hashlib.sha256(json.dumps([seed, *names]).encode()).digest()[:7], "big")


def seed_of_medium(seed: int, name: str, id: str | int | None = None, part: Part | None = None) -> int:
    """The seed of a medium's caption; of one that is in no list of media it has no id and no part."""
    return seed_of(seed, name, id, part)


def drawing_of(temperature: float, top_p: float, seed: int) -> Drawing:
    return Drawing(temperature, top_p, torch.Generator().manual_seed(seed))


def next_ids(logits_BV: Tensor, drawings: Sequence[Drawing]) -> list[int]:
    """An id of each row."""
    ids = _likeliest(logits_BV)
    drawn = [row for row, drawing in enumerate(drawings) if drawing.temperature > 0]
    if drawn:
        drawn_ids = _draw(logits_BV[drawn], [drawings[row] for row in drawn])
        for row, drawn_id in zip(drawn, drawn_ids, strict=True):
            ids[row] = drawn_id
    return ids


def _likeliest(logits_BV: Tensor) -> list[int]:
    """The first of equal ones. numpy compares many words at a time: 8 rows of 32,000 take it 13 us, torch 175."""
    if logits_BV.is_cpu and logits_BV.dtype is torch.float32:
        return logits_BV.numpy().argmax(axis=-1).tolist()
    return logits_BV.argmax(dim=-1).tolist()


def _draw(logits_BV: Tensor, drawings: Sequence[Drawing]) -> list[int]:
    """From the fewest likeliest tokens that together have the probability `top_p`; one at least."""
    device = logits_BV.device
    temperatures_B1 = torch.tensor([[each.temperature] for each in drawings], device=device)
    top_p_B1 = torch.tensor([[each.top_p] for each in drawings], device=device)
    uniform_B1 = torch.stack([torch.rand(1, generator=each.generator) for each in drawings]).to(device)
    likely_BV = torch.softmax(logits_BV.float() / temperatures_B1, dim=-1)
    likely_BV, ids_BV = likely_BV.sort(dim=-1, descending=True, stable=True)
    before_BV = likely_BV.cumsum(dim=-1) - likely_BV
    likely_BV = likely_BV.masked_fill((before_BV >= top_p_B1) & (before_BV > 0), 0.0)
    up_to_BV = likely_BV.cumsum(dim=-1)
    index_B1 = torch.searchsorted(up_to_BV, uniform_B1 * up_to_BV[:, -1:], right=True)
    return ids_BV.gather(1, index_B1.clamp(max=ids_BV.shape[1] - 1))[:, 0].tolist()
