"""The weights that a new projector begins with, between a tower and a language model that know nothing of each other.

Features of a tower lie far from zero and differ in scale from channel to channel, so a projector drawn at random writes
almost the same for every image. Here some of the run's own frames are looked at first, and the two layers that were
drawn are rescaled: the first as if it read standardised features, the last so that each channel that it writes has the
mean and deviation of the word embeddings. They stay plain linear layers; nothing else knows of it.

Shapes: N visual tokens, C channels, S side of a frame.
"""

import math
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

from aurora_cli.checkpoints import names
from aurora_cli.checkpoints.checkpoint import OpenedCheckpoint
from aurora_cli.checkpoints.loading import build_tower, config_of
from aurora_cli.data.batches.training_data import TrainingData
from aurora_cli.data.media.transforms import normalise
from aurora_cli.models.vision_encoder import encode
from aurora_cli.pipeline.train.build_data import plan_data
from aurora_cli.pipeline.train.plan import StagePlan

FRAMES = 64
"""Of samples evenly spread over the run's, one of each: a mean of them is off by an eighth of what frames differ by."""

FAINT = 1e-3
"""A channel that deviates by less than so much of the median one is taken to deviate by that."""

ROUNDING = 1e-6
"""A channel that deviates by no more than so much of its mean does not differ at all."""

AT_ONCE = 4096
"""Rows of a table that are summed at a time."""


class Spread(NamedTuple):
    """Of each channel, over many tokens."""

    mean_C: Tensor
    deviation_C: Tensor


def spread_of(tables_NC: Iterable[Tensor]) -> Spread:
    """
    >>> spread_of([torch.tensor([[0.0, 1.0], [2.0, 1.0]])])
    Spread(mean_C=tensor([1., 1.]), deviation_C=tensor([1., 0.]))
    """
    count, sum_C, squares_C = 0, torch.zeros(()), torch.zeros(())
    for table_NC in tables_NC:
        values_NC = table_NC.double()
        count += len(values_NC)
        sum_C, squares_C = sum_C + values_NC.sum(0), squares_C + values_NC.square().sum(0)
    mean_C = sum_C / count
    return Spread(mean_C.float(), (squares_C / count - mean_C.square()).clamp_min(0).sqrt().float())


@torch.no_grad()
def fit(projector: LlavaMultiModalProjector, features_NC: Tensor, words: Spread) -> None:
    """Rescale the layers for features like these, among words like those."""
    first, last = projector.linear_1, projector.linear_2
    features = spread_of([features_NC])
    first.weight.div_(_divisor(features))
    first.bias.sub_(first.weight @ features.mean_C)
    written = spread_of(projector(some_NC) for some_NC in features_NC.split(AT_ONCE))
    scale_C = words.deviation_C / _divisor(written)
    last.weight.mul_(scale_C[:, None])
    last.bias.copy_((last.bias - written.mean_C) * scale_C + words.mean_C)


def new_projector(plan: StagePlan, start: OpenedCheckpoint) -> dict[str, Tensor]:
    """The weights by canonical name; none where the data have no frames to look at.

    Raises:
        DataError: the tower or the embeddings are damaged, or there is nothing to train on.
    """
    features = list(sample_features(plan, start))
    if not features:
        return {}
    torch.manual_seed(plan.settings.train.seed)
    projector = LlavaMultiModalProjector(config_of(start))
    fit(projector, torch.cat(features), spread_of(start.tensors[names.EMBEDDING].read().split(AT_ONCE)))
    return {f"{names.PROJECTOR}{name}": weight.detach() for name, weight in projector.named_parameters()}


def sample_features(plan: StagePlan, start: OpenedCheckpoint) -> Iterator[Tensor]:
    """(N, C) of each frame of the sample, as the projector is going to receive them."""
    settings = plan.settings
    model, merging = settings.model, settings.merging.largest
    config = config_of(start, merging)
    removals = config.removals(model.image_size, model.image_size, merging)
    tower: Any = build_tower(start, device="auto", fresh=frozenset({"projector"}))
    for frame_1SSC in sample_frames(plan_data(plan, config)):
        pixels = normalise(torch.from_numpy(frame_1SSC), model.image_mean, model.image_std)
        with torch.no_grad():
            hidden_1NC = encode(tower, pixels.to(tower.device), removals, merging.proportional_attention).hidden
        yield hidden_1NC[0, 1 if tower.encoder.class_token else 0 :].float().cpu()


def sample_frames(data: TrainingData) -> Iterator[np.ndarray]:
    """(1, S, S, 3) uint8: of each sample that can be read, the frame in its middle."""
    numbers = np.concatenate(data.corpus.trained)
    numbers = numbers[data.corpus.frames[numbers] > 0]
    for number in numbers[:: math.ceil(len(numbers) / FRAMES) or 1]:
        (sample,) = data.reader.pack(np.array([number]))
        if sample.frames is not None and sample.failure is None:
            yield sample.frames[len(sample.frames) // 2][None]


def _divisor(spread: Spread) -> Tensor:
    """The deviations; of channels that hardly differ in the sample ones that do not blow them up.

    Nobody knows how those that never differ do elsewhere: they are taken to do it as others do.
    """
    deviation_C = spread.deviation_C
    differs_C = deviation_C > ROUNDING * spread.mean_C.abs()
    if not differs_C.any():
        return torch.ones_like(deviation_C)
    usual = float(deviation_C[differs_C].median())
    return deviation_C.clamp_min(FAINT * usual).masked_fill(~differs_C, usual)
