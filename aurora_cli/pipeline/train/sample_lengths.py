"""Samples that are longer than the language model has positions for."""

from typing import NamedTuple

from aurora_cli.data.batches.selection import chunks
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
    samples, most = 0, 0
    for numbers in (*corpus.trained, corpus.validation):
        for chunk in chunks(len(numbers)):
            lengths = corpus.longest(numbers[chunk])
            samples += int((lengths > positions.limit).sum())
            most = max(most, int(lengths.max()))
    return BeyondPositions(samples, most, positions) if samples else None


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
