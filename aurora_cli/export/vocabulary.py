"""More rows for the embedding and the head, where an export has tokens that training did not know."""

import math

import torch

from aurora_cli.checkpoints import names
from aurora_cli.checkpoints.lazy_tensors import LazyTensor, Tensors

MULTIPLE = 64
"""Rows are padded to a multiple of this, which matrix units like."""

_CHUNK_ROWS = 4096


def padded_rows(rows: int, tokens: int) -> int:
    """Rows that a vocabulary of `rows`, used by a tokenizer with `tokens` ids, has in an export.

    >>> padded_rows(32000, 32002), padded_rows(32064, 32002), padded_rows(500, 502)
    (32064, 32064, 512)
    """
    return math.ceil(max(rows, tokens) / MULTIPLE) * MULTIPLE


def grow(tensors: Tensors, rows: int) -> Tensors:
    """The same weights with `rows` rows in the embedding and, if it is stored, the head.

    New rows are drawn as the original draws them: from a normal distribution with the mean of the embedding's rows and
    1e-5 of their covariance; here with a fixed seed, so that an export is the same every time.
    """
    embedding = tensors[names.EMBEDDING]
    if embedding.shape[0] >= rows:
        return tensors
    grown = {names.EMBEDDING: _with_rows(embedding, embedding, rows, seed=0)}
    if names.HEAD in tensors:
        grown[names.HEAD] = _with_rows(tensors[names.HEAD], embedding, rows, seed=1)
    return {**tensors, **grown}


def _with_rows(tensor: LazyTensor, like: LazyTensor, rows: int, seed: int) -> LazyTensor:
    def load() -> torch.Tensor:
        values = tensor.read()
        fresh = new_rows(like.read(), rows - len(values), seed)
        return torch.cat([values, fresh.to(values.dtype)])

    return tensor.with_values(load, (rows, *tensor.shape[1:]))


def new_rows(embedding_VC: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    """(count, C) float32: N(mean, 1e-5 * covariance) of the rows.

    Weighing centred rows with independent normal numbers has just that covariance; no C x C matrix is needed.
    """
    generator = torch.Generator().manual_seed(seed)
    vocabulary = len(embedding_VC)
    mean_C = embedding_VC.mean(dim=0, dtype=torch.float32)
    scale = math.sqrt(1e-5 / vocabulary)
    rows = mean_C.repeat(count, 1)
    for start in range(0, vocabulary, _CHUNK_ROWS):
        centred = embedding_VC[start : start + _CHUNK_ROWS].float() - mean_C
        rows += scale * torch.randn(count, len(centred), generator=generator) @ centred
    return rows
