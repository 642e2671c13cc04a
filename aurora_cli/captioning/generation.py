"""From prompts and frames to the ids of captions, all at once. Shapes: F frames, S side of the tower's square."""

import hashlib
import json
from collections.abc import Sequence

import torch

from aurora_cli.captioning.options import CaptionOptions
from aurora_cli.captioning.text_stream import TextStream
from aurora_cli.models.auroracap import AuroraCap


def generate(
    model: AuroraCap,
    prompts: Sequence[list[int]],
    frames_F3SS: Sequence[torch.Tensor],
    options: CaptionOptions,
    *,
    end_ids: Sequence[int],
    never: Sequence[int] = (),
    seed: int,
    streamer: TextStream | None = None,
) -> list[list[int]]:
    """The new ids of each prompt, without the first of `end_ids` and what comes behind it; none of `never`.

    The global random state stays as it is.
    """
    ids, mask = _rows(prompts)
    decoding = options.decoding
    samples = decoding.temperature > 0
    sampling = {"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0} if samples else {}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        out = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            pixel_values=torch.cat(list(frames_F3SS)).to(model.device, model.dtype),
            media_lengths=[len(frames) for frames in frames_F3SS],
            merging=options.merging,
            max_new_tokens=decoding.max_new_tokens,
            num_beams=decoding.num_beams,
            eos_token_id=[*end_ids],
            pad_token_id=end_ids[0],
            suppress_tokens=[*never] or None,
            streamer=streamer,
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


def batch_seed(seed: int, names: Sequence[str]) -> int:
    """The seed of one batch: the same media in the same batch get the same captions, whatever was captioned before."""
    return int.from_bytes(hashlib.sha256(json.dumps([seed, *names]).encode()).digest()[:7], "big")


def _rows(prompts: Sequence[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids and mask, (prompts, longest), padded behind."""
    width = max(map(len, prompts))
    ids = torch.zeros(len(prompts), width, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
        mask[row, : len(prompt)] = 1
    return ids, mask
