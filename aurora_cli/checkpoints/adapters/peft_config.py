"""adapter_config.json of peft: how the adapters in a folder are scaled, or why they cannot be merged.

Merged are plain sums W + scale * B A over the weights that the base's files hold, with trained copies of whole modules
and biases beside them. What peft offers beyond that is refused by name.
"""

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from aurora_cli.checkpoints.lazy_tensors import LazyTensor
from aurora_cli.errors import DataError
from aurora_cli.io.json_files import read_object

CONFIG_FILE = "adapter_config.json"

_MERGED_BY_PEFT = (
    "Merge it where it was trained, and take the folder that this gives: model.merge_and_unload().save_pretrained(DIR)"
)
_OTHER_SUMS = (
    "use_dora",
    "use_qalora",
    "use_bdlora",
    "lora_bias",
    "fan_in_fan_out",
    "alora_invocation_tokens",
    "trainable_token_indices",
    "target_parameters",
    "layer_replication",
    "ensure_weight_tying",
    "megatron_config",
    "velora_config",
    "monteclora_config",
    "arrow_config",
    "kasa_config",
)
"""Keys that, set, make an adapter more than sums on weights of linear layers and embeddings."""

_BASE_STAYS = (True, False, None, "gaussian", "eva", "orthogonal", "mica")
"""`init_lora_weights` that begin beside the base. The others take their beginning out of it: W - scale * B0 A0."""


class Scaling(NamedTuple):
    """How adapters are scaled, module by module."""

    file: Path
    rank: int
    alpha: float
    ranks: Mapping[str, int]
    """By pattern."""
    alphas: Mapping[str, float]
    """By pattern."""
    by_root: bool
    """Rank-stabilised (Kalajdzievski, 2023): alpha is divided by the root of the rank."""

    def __call__(self, weight: str, factor: LazyTensor) -> float:
        """The scale of the adapter of `weight`, one half of which is `factor` (rank, inputs).

        Raises:
            DataError: its rank is not the one that the file says.
        """
        module, rank = module_of(factor.name), factor.shape[0]
        ranks = _matching(self.file, "rank_pattern", self.ranks, module) or {"r": self.rank}
        if rank not in ranks.values():
            expected = " or ".join(map(str, ranks.values()))
            raise DataError(f"{factor.file}: tensor {factor.name} is of rank {rank}; {self.file.name} says {expected}")
        alphas = _matching(self.file, "alpha_pattern", self.alphas, module) or {"lora_alpha": self.alpha}
        if len(set(alphas.values())) > 1:
            expected = ", ".join(f"{pattern!r} says {alpha}" for pattern, alpha in alphas.items())
            raise DataError(
                f"{self.file}: several of alpha_pattern match {module}: {expected}",
                hint="The first in training counted, and peft sorts them as it saves: remove those that were not it.",
            )
        alpha = next(iter(alphas.values()))
        return alpha / (math.sqrt(rank) if self.by_root else rank)


Scale = Callable[[str, LazyTensor], float]
"""The scale of the adapter of a weight, by the weight's name and the adapter's half of shape (rank, inputs)."""


def read_scaling(config_file: Path) -> Scaling:
    """
    Raises:
        DataError: the adapters are no plain sums, or the base that they belong to is not the one in the files.
    """
    config = read_object(config_file)
    if config.get("peft_type") != "LORA":
        raise _not_merged(config_file, f"peft_type {config.get('peft_type')!r}")
    for key in _OTHER_SUMS:
        if config.get(key):
            raise _not_merged(config_file, key)
    init = config.get("init_lora_weights")
    if init not in _BASE_STAYS:
        raise DataError(
            f"{config_file}: init_lora_weights {init!r} takes the adapters' beginning out of the base, so that they"
            " belong to another base than its files hold",
            hint=f"{_MERGED_BY_PEFT}\n"
            "Or save the adapter as one beside the plain base: save_pretrained(DIR, path_initial_model_for_weight_"
            "conversion=FIRST), FIRST being the adapter as it was saved before the first step.",
        )
    try:
        rank, alpha = int(config["r"]), float(config["lora_alpha"])
        ranks, alphas = dict(config.get("rank_pattern") or {}), dict(config.get("alpha_pattern") or {})
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{config_file}: lacks r or lora_alpha") from error
    return Scaling(config_file, rank, alpha, ranks, alphas, by_root=bool(config.get("use_rslora")))


def module_of(factor: str) -> str:
    """The name that a factor's module had in the model that peft wrapped: patterns are about this one.

    >>> module_of("llm.base_model.model.model.layers.0.self_attn.q_proj.lora_A.default.weight")
    'model.layers.0.self_attn.q_proj'
    """
    return re.sub(r"\.lora_(?:embedding_)?[AB](?:\.\w+)*$", "", factor.rpartition("base_model.model.")[2])


def _not_merged(config_file: Path, what: str) -> DataError:
    return DataError(f"{config_file}: {what} cannot be merged; plain LoRA was expected", hint=_MERGED_BY_PEFT)


def _matching(file: Path, key: str, patterns: Mapping[str, Any], module: str) -> dict[str, Any]:
    """peft's rule: a pattern is the whole name of a module, or its end from a dot on."""
    try:
        return {one: value for one, value in patterns.items() if re.match(rf"(?:.*\.)?(?:{one})$", module)}
    except re.error as error:
        raise DataError(f"{file}: {key} has {error.pattern!r}, which is no regular expression: {error}") from error
