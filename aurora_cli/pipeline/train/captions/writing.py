"""Greedy captions by a model in training, which goes on as if they had not been written."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from aurora_cli.captioning.generation import before_end
from aurora_cli.captioning.prompts import padded
from aurora_cli.data.batches.training_data import BatchPlan
from aurora_cli.data.media.transforms import normalise
from aurora_cli.pipeline.train.captions.prompts import CaptionPrompt
from aurora_cli.training.engine.engine import Engine


def write_captions(
    engine: Engine,
    prompts: Sequence[CaptionPrompt],
    plan: BatchPlan,
    *,
    end_ids: Sequence[int] | None,
    max_new_tokens: int,
) -> list[str]:
    """Captions of the prompts, in one batch. `end_ids`: what ends an answer; none: what the model says.

    Under ZeRO-3 all ranks call it together, each with as many prompts.
    """
    frames = torch.from_numpy(np.concatenate([one.sample.frames for one in prompts if one.sample.frames is not None]))
    ids_BT, mask_BT = padded([one.prompt for one in prompts])
    model: Any = engine.module
    ends = end_ids or model.generation_config.eos_token_id
    ends = [*ends] if isinstance(ends, Sequence) else [ends]
    with undisturbed(engine.module, engine.device), torch.no_grad(), engine.accelerator.autocast():
        new = model.generate(
            input_ids=ids_BT.to(engine.device),
            attention_mask=mask_BT.to(engine.device),
            pixel_values=normalise(frames, plan.image_mean, plan.image_std).to(engine.device),
            media_lengths=[length for one in prompts for length in one.sample.media_lengths],
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=ends,
            pad_token_id=ends[0],
            # under ZeRO-3 a rank whose captions have ended goes on gathering weights for the others
            synced_gpus=engine.zero_stage == 3 and engine.world_size > 1,
        )
    return [one.tokenizer.decode(before_end(row, ends)).strip() for one, row in zip(prompts, new.tolist(), strict=True)]


@contextlib.contextmanager
def undisturbed(module: nn.Module, device: torch.device) -> Iterator[None]:
    """A network in training, for a while as one that is used: then its parts' modes and the random numbers to come are
    again what they were."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        for part, mode in modes:
            part.training = mode
