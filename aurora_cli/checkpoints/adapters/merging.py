"""Low-rank adapters, merged into the weights that they change as these are read (LoRA: Hu et al., ICLR 2022).

    <module>.lora_A[.<adapter>].weight (rank, inputs)     <module>.lora_B[.<adapter>].weight (outputs, rank)
    <module>.lora_embedding_A (rank, entries)             <module>.lora_embedding_B (width, rank)

The merged weight is W + scale * B A, computed in fp32, with scale = alpha / rank. peft's folders say alpha and rank in
adapter_config.json, our checkpoints in checkpoint.json; tensors there that belong to no adapter replace the model's.
Where embedding and head are one weight (tied), an adapter of one of them leaves the other as it was: they part.
"""

import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from aurora_cli.checkpoints import names
from aurora_cli.checkpoints.adapters.peft_config import CONFIG_FILE, Scale, read_scaling
from aurora_cli.checkpoints.checkpoint import OpenedCheckpoint
from aurora_cli.checkpoints.lazy_tensors import LazyTensor, Tensors, rename
from aurora_cli.checkpoints.weight_files import open_weights
from aurora_cli.errors import DataError

WEIGHT_FILES = ("adapter_model.safetensors", "adapter_model.bin")

_FACTOR = re.compile(r"(?P<module>.+)\.lora_(?P<embedding>embedding_)?(?P<which>[AB])(?:\.\w+?)??(?:\.weight)?")


def is_adapter_folder(path: Path) -> bool:
    return (path / CONFIG_FILE).is_file()


def has_adapters(tensors: Tensors) -> bool:
    return any(_FACTOR.fullmatch(name) for name in tensors)


def open_adapter(folder: Path, name_of: Callable[[str], str | None]) -> Tensors:
    """The tensors of a peft folder; `name_of` is given the name that a weight has in the model without peft.

    Raises:
        DataError: there are none, or they are damaged.
    """
    file = next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)
    if file is None:
        raise DataError(f"{folder}: holds no {' or '.join(WEIGHT_FILES)}")
    return rename(open_weights(file), lambda name: name_of(plain_name(name)))


def plain_name(name: str) -> str:
    """A tensor's name without what peft wraps models and layers in.

    >>> plain_name("base_model.model.model.layers.0.mlp.up_proj.base_layer.weight")
    'model.layers.0.mlp.up_proj.weight'
    """
    name = re.sub(r"(?:^|(?<=^llm\.)|(?<=^visual_encoder\.))base_model\.model\.", "", name)
    return re.sub(r"\.base_layer\.|\.modules_to_save\.\w+\.", ".", name)


def with_adapters(base: OpenedCheckpoint, own: Tensors, config_file: Path) -> OpenedCheckpoint:
    """`base` with the adapters and weights `own` in it, scaled as peft's `config_file` says.

    Raises:
        DataError: they do not fit, or are no low-rank sums.
    """
    weights = dict(base.tensors)
    if base.config.tie_word_embeddings and names.HEAD not in weights:
        weights[names.HEAD] = weights[names.EMBEDDING]
    merged_weights = merged(weights, own, read_scaling(config_file))
    return replace(
        replace(base, tensors=merged_weights).tied_as_stored(),
        described_by=(*base.described_by, config_file, *{tensor.file for tensor in own.values()}),
    )


def merged(weights: Tensors, adapters: Tensors, scale: Scale) -> Tensors:
    """`weights` with `adapters` in them.

    Raises:
        DataError: an adapter lacks its other half, or fits no weight.
    """
    factors: dict[str, dict[str, LazyTensor]] = {}
    plain: Tensors = {}
    for name, tensor in adapters.items():
        match = _FACTOR.fullmatch(name)
        if match is None:
            plain[name] = tensor
        else:
            factors.setdefault(f"{match['module']}.weight", {})[(match["embedding"] or "") + match["which"]] = tensor
    result = {**weights, **plain}
    for name, pair in factors.items():
        some = next(iter(pair.values()))
        weight = result.get(name)
        if weight is None:
            raise DataError(f"{some.file}: tensor {some.name} adapts {name}, which the model has not")
        transposed = set(pair) == {"embedding_A", "embedding_B"}
        if not transposed and set(pair) != {"A", "B"}:
            raise DataError(f"{some.file}: tensor {some.name} lacks its other half")
        down, up = (pair["embedding_A"], pair["embedding_B"]) if transposed else (pair["A"], pair["B"])
        _check(weight, down, up, transposed)
        result[name] = weight.with_values(partial(_sum, weight, down, up, scale(name, down), transposed))
    return result


def _check(weight: LazyTensor, down: LazyTensor, up: LazyTensor, transposed: bool) -> None:
    shape = (up.shape[0], math.prod(down.shape[1:]))
    expected = (weight.shape[0], math.prod(weight.shape[1:]))
    if (shape[::-1] if transposed else shape) != expected or down.shape[0] != up.shape[1]:
        raise DataError(
            f"{down.file}: tensors {down.name} {down.shape} and {up.name} {up.shape} "
            f"do not fit the weight of shape {weight.shape}"
        )


def _sum(weight: LazyTensor, down: LazyTensor, up: LazyTensor, scale: float, transposed: bool) -> torch.Tensor:
    change = up.read().float().flatten(1) @ down.read().float().flatten(1)
    change = (change.T if transposed else change).reshape(weight.shape)
    return change.mul_(scale).add_(weight.read()).to(weight.dtype)
