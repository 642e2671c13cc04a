"""The samples that a stage trains on, packed and ordered, at the lengths that its network gives them."""

from pathlib import Path
from typing import TYPE_CHECKING

from aurora_cli.data.token_store.folder import TOKENIZER
from aurora_cli.errors import DataError
from aurora_cli.pipeline.train.plan import StagePlan

if TYPE_CHECKING:
    from aurora_cli.data.batches.loader import TrainingData
    from aurora_cli.data.batches.shared_plan import PlanShare
    from aurora_cli.models.auroracap import AuroraCapConfig


def plan_data(plan: StagePlan, config: "AuroraCapConfig", share: "PlanShare | None" = None) -> "TrainingData":
    """The run's samples, packed and ordered; `share` lets one process of several plan for all."""
    from aurora_cli.data.batches.corpus import Source
    from aurora_cli.data.batches.loader import TrainingData

    settings = plan.settings
    for one in plan.data:
        _check_vocabulary(one.folder, config.get_text_config().vocab_size)
    size = settings.model.image_size
    media_root = settings.train.media_root
    sources = [
        Source(
            folder=one.folder,
            workspace=settings.workspace,
            weight=one.weight,
            media_root=None if media_root is None else settings.workspace / media_root.expanduser(),
        )
        for one in plan.data
    ]
    return TrainingData(
        sources,
        settings,
        token_counts=config.frame_token_counts(size, size, settings.merging),
        image_token_id=config.image_token_id,
        share=share,
    )


def _check_vocabulary(folder: Path, embeddings: int) -> None:
    """
    Raises:
        DataError: the tokenizer of a merged folder has ids that the language model has no embedding for.
    """
    from tokenizers import Tokenizer

    ids = Tokenizer.from_file(str(folder / TOKENIZER)).get_vocab_size(with_added_tokens=False)
    if ids > embeddings:
        raise DataError(
            f"{folder}: its tokenizer has {ids:,} ids, the language model {embeddings:,} embeddings",
            hint="Tokenize with the language model's own: aurora tokenize --tokenizer DIR --force",
        )
