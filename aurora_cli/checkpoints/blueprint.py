"""What a complete captioner consists of: its config, and the name and shape of every weight, without making one."""

import copy
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, NamedTuple

import torch
from transformers import LlavaConfig, LlavaForConditionalGeneration

from aurora_cli.checkpoints import names
from aurora_cli.checkpoints.lazy_tensors import LazyTensor, Tensors
from aurora_cli.config.settings import ModelSettings
from aurora_cli.errors import DataError
from aurora_cli.models import supported
from aurora_cli.models.parts import Part
from aurora_cli.models.towers.kinds import USUAL, check_tower, has_class_token
from aurora_cli.models.weightless import weightless


class Weight(NamedTuple):
    """A weight as the config asks for it."""

    shape: tuple[int, ...]
    optional: bool
    """True for a head that is the embedding once more: files may leave it out."""


def check_kinds(
    vision_config: Mapping[str, Any],
    text_config: Mapping[str, Any],
    *,
    tower: str,
    language: str,
    in_llava: bool = False,
) -> None:
    """Raise unless the network can be made of these two, which are in a LLaVA already or are to be joined.

    `tower` and `language` are their names in the message.

    Raises:
        UsageError: one of them is of a kind that is not supported.
    """
    check_tower(tower, vision_config)
    supported.check_language_model(language, text_config, in_llava=in_llava)


def llava_config(
    vision_config: Mapping[str, Any],
    text_config: Mapping[str, Any],
    model: ModelSettings,
    *,
    tower: str = "the tower",
    language: str = "the model",
) -> LlavaConfig:
    """The config of the two, by these names in messages, joined as transformers' LLaVA.

    Raises:
        UsageError: the tower or the language model is none that is supported.
        DataError: transformers refuses what they say.
    """
    check_kinds(vision_config, text_config, tower=tower, language=language)
    has_class = has_class_token(str(vision_config.get("model_type", USUAL)))
    try:
        return LlavaConfig(
            vision_config=dict(vision_config),
            text_config=dict(text_config),
            vision_feature_layer=model.feature_layer,
            vision_feature_select_strategy="default" if has_class else "full",
            image_token_index=int(text_config.get("vocab_size", 0)),
            image_seq_length=(model.image_size // int(vision_config.get("patch_size", 14))) ** 2,
            tie_word_embeddings=bool(text_config.get("tie_word_embeddings", False)),
        )
    except Exception as error:  # each version checks configs with other exceptions
        raise DataError(f"the configs do not make a model: {error}") from error


def with_vocabulary(config: LlavaConfig, rows: int) -> LlavaConfig:
    """The config of a language model with so many embeddings, images having the id behind them."""
    grown = copy.deepcopy(config)
    text: Any = grown.text_config
    text.vocab_size = rows
    grown.image_token_id = rows
    return grown


def weights_of(config: LlavaConfig) -> dict[str, Weight]:
    """Every weight of the model by canonical name, the vision layers that never run among them."""
    with weightless():
        model = LlavaForConditionalGeneration(config)
    weights: dict[str, Weight] = {}
    for own_name, tensor in model.state_dict().items():
        name = names.canonical(own_name)
        if name is not None:
            optional = name == names.HEAD and bool(config.tie_word_embeddings)
            weights[name] = Weight(tuple(tensor.shape), optional)
    return weights


def tied_as_stored(config: LlavaConfig, tensors: Tensors) -> tuple[LlavaConfig, Tensors]:
    """The same captioner with embedding and head one weight only if they are: as transformers 5 decides it.

    Of two equal tensors, or of a head alone, the embedding remains; two that differ both remain, and the config that
    says tied is not believed. It reads both, where a config says tied and both are stored.
    """
    tied = bool(config.tie_word_embeddings)
    embedding, head = tensors.get(names.EMBEDDING), tensors.get(names.HEAD)
    if tied and head is not None and (embedding is None or _same(embedding, head)):
        rest = {name: tensor for name, tensor in tensors.items() if name != names.HEAD}
        tensors = under_embedding(config, tensors) if embedding is None else rest
    elif tied and head is not None:
        tied = False
    return _with_tying(config, tied), tensors


def under_embedding(config: LlavaConfig, tensors: Tensors) -> Tensors:
    """A part of the weights of a captioner; a tied weight that is stored under the head's name alone is renamed."""
    if not config.tie_word_embeddings or names.HEAD not in tensors or names.EMBEDDING in tensors:
        return tensors
    return {names.EMBEDDING if name == names.HEAD else name: tensor for name, tensor in tensors.items()}


def _same(one: LazyTensor, other: LazyTensor) -> bool:
    if one is other:
        return True
    return one.shape == other.shape and torch.equal(one.load().to(one.dtype), other.load().to(one.dtype))


def _with_tying(config: LlavaConfig, tied: bool) -> LlavaConfig:
    text: Any = config.text_config
    if bool(config.tie_word_embeddings) == tied == bool(text.tie_word_embeddings):
        return config
    changed: Any = deepcopy(config)
    changed.tie_word_embeddings = changed.text_config.tie_word_embeddings = tied
    return changed


def check(what: str, tensors: Tensors, config: LlavaConfig, may_lack: frozenset[Part] = frozenset()) -> None:
    """Raise unless `tensors` are exactly the weights of the model that `config` describes.

    Raises:
        DataError: a weight is missing, unexpected, or of another shape; the message names file and tensor.
    """
    weights = weights_of(config)
    missing = [
        name
        for name, weight in weights.items()
        if name not in tensors and not weight.optional and names.part_of(name) not in may_lack
    ]
    if missing:
        raise DataError(f"{what}: lacks {_listed(missing)}")
    unexpected = [name for name in tensors if name not in weights]
    if unexpected:
        file = tensors[unexpected[0]].file
        raise DataError(
            f"{file}: holds {_listed([tensors[name].name for name in unexpected])}, which the model has not"
        )
    for name, tensor in tensors.items():
        if tensor.shape != weights[name].shape:
            raise DataError(
                f"{tensor.file}: tensor {tensor.name} has shape {tensor.shape}; "
                f"the config asks for {weights[name].shape}"
            )


def _listed(items: list[str], most: int = 3) -> str:
    more = f" and {len(items) - most} more tensors" if len(items) > most else ""
    return ("tensor " if len(items) == 1 else "tensors ") + ", ".join(items[:most]) + more
