"""Beam search: the ids of captions, all at once, by transformers' own `generate`."""

import hashlib
import json
from collections.abc import Sequence

import torch

from aurora_cli.captioning.caption_stream import Read
from aurora_cli.captioning.options import CaptionOptions
from aurora_cli.captioning.result import Part
from aurora_cli.models.auroracap import AuroraCap


def generate(
    model: AuroraCap, reads: Sequence[Read], options: CaptionOptions, *, end_ids: Sequence[int], never: Sequence[int]
) -> list[list[int]]:
    """The new ids of each, without the first of `end_ids` and what comes behind it; none of `never`.

    The global random state stays as it is.
    """
    if not reads:
        return []
    ids, mask = _rows([read.prompt for read in reads])
    decoding = options.decoding
    samples = decoding.temperature > 0
    sampling = {"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0} if samples else {}
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(decoding.seed, *(read.medium.name for read in reads)))
        out = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            pixel_values=torch.cat([read.frames_F3SS for read in reads]).to(model.device, model.dtype),
            media_lengths=[len(read.frames_F3SS) for read in reads],
            merging=options.merging,
            max_new_tokens=decoding.max_new_tokens,
            num_beams=decoding.num_beams,
            eos_token_id=[*end_ids],
            pad_token_id=end_ids[0],
            suppress_tokens=[*never] or None,
            do_sample=samples,
            **sampling,
        )
    return [before_end(row, end_ids) for row in out.tolist()]


def before_end(row: list[int], end_ids: Sequence[int]) -> list[int]:
    """New ids up to the first that ends an answer.

    >>> before_end([5, 6, 2, 0, 7], [0, 2])
    [5, 6]
    """
    return row[: min((row.index(end) for end in end_ids if end in row), default=len(row))]


def seed_of(seed: int, *names: object) -> int:
    """A seed for what bears these names: the same one, whatever was captioned before or is captioned beside it."""
    return int.from_bytes(hashlib.sha256(json.dumps([seed, *names]).encode()).digest()[:7], "big")


def seed_of_medium(seed: int, name: str, id: str | int | None = None, part: Part | None = None) -> int:
    """The seed of a medium's caption; of one that is in no list of media it has no id and no part."""
    return seed_of(seed, name, id, part)


def _rows(prompts: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask, (prompts, longest), padded behind."""
    width = max(map(len, prompts))
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
        mask[row, : len(prompt)] = 1
    return ids, mask
