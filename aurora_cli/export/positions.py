"""Position embeddings for the images of training, written where the tower was made for others.

transformers' CLIP and SigLIP, vLLM and most other programs resize no positions: they refuse an image of another side
than the config says. What `FrameEmbeddings` computes at each frame is computed once here, and stored.
"""

import copy
from dataclasses import replace
from typing import Any

import torch

from aurora_cli.checkpoints import names
from aurora_cli.checkpoints.checkpoint import OpenedCheckpoint
from aurora_cli.checkpoints.lazy_tensors import LazyTensor
from aurora_cli.models.merge_plan import grid
from aurora_cli.models.towers.frame_embeddings import resized_positions
from aurora_cli.models.towers.kinds import kind_named

POSITIONS = f"{names.VISION}vision_model.embeddings.position_embedding.weight"
"""(class token + rows * columns, C) of a CLIP or SigLIP."""


def at_trained_size(checkpoint: OpenedCheckpoint) -> OpenedCheckpoint:
    """The same captioner with a tower made for images as large as they were in training; a note where that is new.

    DINOv2's table stays as it is: every program that has the tower resizes it.
    """
    vision: Any = checkpoint.config.vision_config
    kind, trained = kind_named(vision.model_type), checkpoint.model.image_size
    if vision.image_size == trained or kind.any_size:
        return checkpoint
    config = copy.deepcopy(checkpoint.config)
    resized: Any = config.vision_config
    resized.image_size = trained
    side, _ = grid(vision.image_size, vision.image_size, vision.patch_size)
    rows, columns = grid(trained, trained, vision.patch_size)
    config.image_seq_length = rows * columns
    table = _resized(checkpoint.tensors[POSITIONS], side, rows, columns, int(kind.class_token))
    note = (
        f"the tower was made for images of {vision.image_size} px and trained with {trained} px: its position "
        f"embeddings are written for {trained} px, so that programs which resize none read this export"
    )
    tensors = {**checkpoint.tensors, POSITIONS: table}
    return replace(checkpoint, config=config, tensors=tensors, notes=(*checkpoint.notes, note))


def _resized(table: LazyTensor, side: int, rows: int, columns: int, class_tokens: int) -> LazyTensor:
    def load() -> torch.Tensor:
        return resized_positions(table.read(), side, rows, columns, class_tokens)

    return table.with_values(load, (class_tokens + rows * columns, *table.shape[1:]))
