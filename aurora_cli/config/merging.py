"""How visual tokens are merged: the one value that model, collator, packing, exports and the Python API share."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Schedule = Literal["exact", "constant"]


class TokenMerging(BaseModel):
    """Token merging (ToMe; Bolya et al., ICLR 2023) in the vision tower.

    `TokenMerging(kept_ratio=0.5, schedule="constant", proportional_attention=False)` is what the original
    AuroraCap does and what its released weights were trained with.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    kept_ratio: float = Field(default=1.0, gt=0.0, le=1.0)
    """Share of a frame's patches that reach the projector; 1.0 merges nothing."""

    schedule: Schedule = "exact"
    """`exact` keeps round(kept_ratio * patches) tokens; `constant` is the original's, which keeps more than it says."""

    proportional_attention: bool = True
    """Add log(size) of each key to the attention logits, so that a merged token weighs what its parts did."""

    slowfast: bool = False
    """Keep the first frame of a video whole (SlowFast-LLaVA, arXiv 2407.15841); the others, and images, are merged."""
