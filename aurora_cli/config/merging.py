"""How visual tokens are merged: the one value that model, collator, packing, exports and the Python API share."""

from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, ModelWrapValidatorHandler, Tag, model_validator

from aurora_cli.config.section import KeptRatio, Number

Schedule = Literal["exact", "constant"]

NUMBER, MIXTURE = "a number", "a mixture"
TAGS = (NUMBER, MIXTURE)
"""How pydantic names the two forms of a kept ratio, where it says which value is wrong."""


class RatioMixture(BaseModel):
    """Several kept ratios in one training, of which every step has one."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    ratios: tuple[KeptRatio, ...] = Field(min_length=1, max_length=32)
    """Ascending, whatever their order was. Each has packs of its own, and `--plan` goes over all of them."""

    weights: tuple[Annotated[Number, Field(gt=0.0, allow_inf_nan=False)], ...] = ()
    """How often a sample meets each ratio, beside the others; none: all alike."""

    @model_validator(mode="wrap")
    @classmethod
    def _ascending(cls, given: Any, validated: ModelWrapValidatorHandler[Self]) -> Self:
        """Each weight goes with its ratio. As it was given first, so that an error counts as its reader does."""
        if isinstance(given, dict) and given.get("weights", ()) is None:
            given = given | {"weights": ()}
        mixture = validated(given)
        if mixture.weights and len(mixture.weights) != len(mixture.ratios):
            raise ValueError(f"there are {len(mixture.weights)} weights for {len(mixture.ratios)} ratios")
        order = sorted(range(len(mixture.ratios)), key=lambda index: mixture.ratios[index])
        ratios = [mixture.ratios[index] for index in order]
        if any(one == other for one, other in pairwise(ratios)):
            raise ValueError("a ratio is there twice: give it a larger weight instead")
        if order == sorted(order):
            return mixture
        return validated({"ratios": ratios, "weights": [mixture.weights[index] for index in order if mixture.weights]})

    @property
    def shares(self) -> tuple[float, ...]:
        """Of all samples of an epoch, those that meet each ratio.

        >>> RatioMixture(ratios=[1.0, 0.1], weights=[1, 3]).shares
        (0.75, 0.25)
        """
        weights = self.weights or (1.0,) * len(self.ratios)
        return tuple(weight / sum(weights) for weight in weights)


def _kind(value: Any) -> str:
    return MIXTURE if isinstance(value, dict | RatioMixture) else NUMBER


KeptRatioOrMixture = Annotated[
    Annotated[KeptRatio, Tag(NUMBER)] | Annotated[RatioMixture, Tag(MIXTURE)], Discriminator(_kind)
]


class MergingSettings(BaseModel):
    """How visual tokens merge in a training."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    kept_ratio: KeptRatioOrMixture = Field(default=1.0, examples=["{ratios: [0.25, 0.5, 1.0]}"])
    """Share of a frame's patches that reach the projector; 1.0 merges nothing. A mapping trains one model for several:
    `{ratios: [0.25, 0.5, 1.0], weights: [2, 1, 1]}`, each step at one of them, without weights as often at each."""

    schedule: Schedule = "exact"
    """`exact` keeps round(kept_ratio * patches) tokens; `constant` is the original's, which keeps more than it says."""

    proportional_attention: bool = True
    """Add log(size) of each key to the attention logits, so that a merged token weighs what its parts did."""

    slowfast: bool = False
    """Keep the first frame of a video whole (SlowFast-LLaVA, arXiv 2407.15841); the others, and images, are merged."""

    @property
    def mixture(self) -> RatioMixture:
        """The ratios and their weights, of a single number, too."""
        ratio = self.kept_ratio
        return ratio if isinstance(ratio, RatioMixture) else RatioMixture(ratios=(ratio,))

    @property
    def mergings(self) -> "tuple[TokenMerging, ...]":
        """At each ratio, ascending."""
        rest = self.model_dump(exclude={"kept_ratio"})
        return tuple(TokenMerging(kept_ratio=ratio, **rest) for ratio in self.mixture.ratios)

    @property
    def largest(self) -> "TokenMerging":
        """At the largest ratio: what the weights do where nobody says another."""
        return self.mergings[-1]

    @property
    def trained_ratios(self) -> tuple[float, ...]:
        """What the weights say of a mixture; none: the ratio of `largest` is the only one."""
        ratios = self.mixture.ratios
        return ratios if len(ratios) > 1 else ()


class TokenMerging(MergingSettings):
    """Token merging (ToMe; Bolya et al., ICLR 2023) in the vision tower.

    `TokenMerging(kept_ratio=0.5, schedule="constant", proportional_attention=False)` is what the original
    AuroraCap does and what its released weights were trained with.
    """

    kept_ratio: float = Field(default=1.0, gt=0.0, le=1.0)
    """Share of a frame's patches that reach the projector; 1.0 merges nothing."""
