"""Beam search: the ids of captions, all at once, by transformers' own `generate`."""

from collections.abc import Sequence

import torch

from aurora_cli.captioning.options import CaptionOptions
from aurora_cli.captioning.prompts import Prompt, padded
from aurora_cli.captioning.sampling import seed_of
from aurora_cli.models.auroracap import AuroraCap


def generate(
    model: AuroraCap,
    prompts: Sequence[Prompt],
    options: CaptionOptions,
    *,
    names: Sequence[str],
    end_ids: Sequence[int],
    never: Sequence[int],
) -> list[list[int]]:
    """The new ids of each, without the first of `end_ids` and what comes behind it; none of `never`.

    The prompts have their frames, and the options' merging. What is sampled follows from the media's `names`; the
    global random state stays as it is.
    """
    if not prompts:
        return []
    ids_BT, mask_BT = padded([prompt.ids for prompt in prompts])
    decoding = options.decoding
    samples = decoding.temperature > 0
    sampling = {"temperature": decoding.temperature, "top_p": decoding.top_p, "top_k": 0} if samples else {}
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(decoding.seed, *names))
        out = model.generate(
            input_ids=ids_BT.to(model.device),
            attention_mask=mask_BT.to(model.device),
            pixel_values=torch.cat([prompt.visual for prompt in prompts]).to(model.device, model.dtype),
            media_lengths=[length for prompt in prompts for length in prompt.media_lengths],
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
