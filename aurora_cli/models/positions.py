"""How many positions a language model has: beyond them it computes, and writes nonsense.

Rotary positions (Su et al., 2021) that are stretched - linearly, or by YaRN - reach `factor` times as far as those that
they were stretched from; others as far as `max_position_embeddings` says. Dynamic ones stretch themselves.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

_STRETCHED = ("linear", "yarn")
_DYNAMIC = "dynamic"
UNLIMITED = 2**31 - 1
"""Of a model that says nothing: lengths are int32."""


class Positions(NamedTuple):
    """What a language model's config says of positions."""

    limit: int
    """Tokens of a sample, or of a prompt and its answer, at most."""
    extrapolates: bool
    """The scheme is made for longer ones, at some loss."""

    def hold_prompt(self, tokens: int) -> bool:
        """Whether a prompt of so many tokens, and an answer of one at least, have positions."""
        return tokens < self.limit or self.extrapolates


def positions_of(config: Any) -> Positions:
    """Of a language model's config in transformers.

    >>> from transformers import LlamaConfig
    >>> positions_of(LlamaConfig(max_position_embeddings=4096))
    Positions(limit=4096, extrapolates=False)
    >>> positions_of(LlamaConfig(max_position_embeddings=4096, rope_scaling={"type": "linear", "factor": 4.0}))
    Positions(limit=16384, extrapolates=False)
    """
    limit = int(getattr(config, "max_position_embeddings", None) or UNLIMITED)
    ropes = _ropes(config)
    for rope in ropes:
        if rope.get("rope_type") in _STRETCHED:
            from_length = rope.get("original_max_position_embeddings") or limit
            limit = max(limit, int(float(rope.get("factor") or 1.0) * from_length))
    return Positions(limit, any(rope.get("rope_type") == _DYNAMIC for rope in ropes))


def rope_types(config: Any) -> set[str]:
    """The kinds of rotary positions that a language model's layers have, by transformers' names.

    >>> from transformers import LlamaConfig
    >>> rope_types(LlamaConfig(rope_scaling={"type": "linear", "factor": 4.0}))
    {'linear'}
    """
    return {str(rope.get("rope_type", "default")) for rope in _ropes(config)}


def _ropes(config: Any) -> list[Mapping[str, Any]]:
    """One a kind of layer, where kinds have their own."""
    parameters: Mapping[str, Any] = getattr(config, "rope_parameters", None) or {}
    inner = [value for value in parameters.values() if isinstance(value, Mapping)]
    return inner or [parameters]
