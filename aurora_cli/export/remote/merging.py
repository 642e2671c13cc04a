"""`TokenMerging` without pydantic, which an export cannot ask for. Same fields, same defaults."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal


@dataclass(frozen=True)
class TokenMerging:
    """How visual tokens are merged."""

    kept_ratio: float = 1.0
    """Share of a frame's patches that reach the projector; 1.0 merges nothing."""

    schedule: Literal["exact", "constant"] = "exact"
    """`exact` keeps round(kept_ratio * patches) tokens; `constant` is the original AuroraCap's."""

    proportional_attention: bool = True
    """Add log(size) of each key to the attention logits."""

    slowfast: bool = False
    """Keep the first frame of every video whole."""

    def __post_init__(self) -> None:
        if not 0.0 < self.kept_ratio <= 1.0:
            raise ValueError(f"kept_ratio is {self.kept_ratio}; above 0 and at most 1 was expected")
        if self.schedule not in ("exact", "constant"):
            raise ValueError(f"schedule is {self.schedule!r}; exact or constant was expected")

    def model_dump(self) -> dict[str, float | str | bool]:
        return asdict(self)

    def model_copy(self, *, update: Mapping[str, Any]) -> "TokenMerging":
        return replace(self, **update)
