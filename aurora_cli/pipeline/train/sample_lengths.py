"""Samples that are longer than the language model has positions for."""

from typing import NamedTuple

import numpy as np

from aurora_cli.data.batches.training_data import TrainingData
from aurora_cli.errors import UsageError
from aurora_cli.models.auroracap import AuroraCapConfig
from aurora_cli.models.positions import Positions, positions_of


class BeyondPositions(NamedTuple):
    """How many samples of a run are too long for the model, and how long."""

    samples: int
    most: int
    """Tokens of the longest."""
    positions: Positions

    def __str__(self) -> str:
        verb = "has" if self.samples == 1 else "have"
        return (
            f"{self.samples:,} sample{'' if self.samples == 1 else 's'} {verb} more tokens than the language model has"
            f" positions: up to {self.most:,}, and max_position_embeddings reaches {self.positions.limit:,}"
        )


def beyond_positions(data: TrainingData, config: AuroraCapConfig) -> BeyondPositions | None:
    """Of all samples, those for validation too; none if all fit."""
    positions = positions_of(config.get_text_config())
    corpus = data.corpus
    numbers = np.concatenate([*corpus.trained, corpus.validation])
    lengths = corpus.longest(numbers)
    longer = lengths[lengths > positions.limit]
    return BeyondPositions(len(longer), int(longer.max()), positions) if len(longer) else None


def check_positions(data: TrainingData, config: AuroraCapConfig) -> str | None:
    """A warning, where samples are longer than the language model has positions for, and its scheme is made for that.

    Raises:
        UsageError: there are such samples, and it is not.
    """
    beyond = beyond_positions(data, config)
    if beyond is None:
        return None
    if beyond.positions.extrapolates:
        return f"{beyond}; its positions stretch themselves (rope_type dynamic), at some loss"
    limit = beyond.positions.limit
    raise UsageError(
        str(beyond),
        hint=f"--set train.pack_tokens={limit} cuts or leaves them out (data.too_long), a lower --token-kept-ratio"
        " makes them shorter, and rope_parameters (linear, yarn, dynamic) in the model's config.json reach further.",
    )
