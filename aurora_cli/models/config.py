"""The config of an AuroraCap: LLaVA's, and how its tower merges."""

from collections.abc import Sequence
from typing import Any

from transformers import LlavaConfig

from aurora_cli.config.merging import TokenMerging
from aurora_cli.errors import SettingsError
from aurora_cli.models.merge_plan import WHOLE, FrameTokenCounts, grid, layers_before, removal_plan
from aurora_cli.models.towers.kinds import has_class_token


class AuroraCapConfig(LlavaConfig):
    """LLaVA's config, with the merging that the weights were trained for and the side that frames are resized to.

    `model_type` stays `llava`: plain transformers loads what this describes, and merges nothing.
    """

    merging: dict | None = None
    """Fields of `TokenMerging`, as JSON has them; none: nothing is merged."""

    image_size: int | None = None
    """Side in pixels that frames are resized to; none: the tower's own."""

    @property
    def token_merging(self) -> TokenMerging:
        return WHOLE if self.merging is None else TokenMerging(**self.merging)

    @property
    def tower_layers(self) -> int:
        """Layers of the tower that run: those before the features."""
        vision: Any = self.vision_config
        if not isinstance(self.vision_feature_layer, int):
            raise SettingsError(f"vision_feature_layer is {self.vision_feature_layer}; one layer is expected")
        return layers_before(self.vision_feature_layer, vision.num_hidden_layers)

    def removals(self, height: int, width: int, merging: TokenMerging) -> tuple[int, ...]:
        """Tokens that each of the tower's layers that run removes from a frame of this size."""
        vision: Any = self.vision_config
        return removal_plan(
            height,
            width,
            vision.patch_size,
            vision.num_hidden_layers,
            self.tower_layers,
            merging,
            class_token=has_class_token(vision.model_type),
        )

    def frame_token_counts(self, height: int, width: int, merging: TokenMerging | None = None) -> FrameTokenCounts:
        """Visual tokens of frames of this size; none for `merging`: the config's."""
        merging = merging or self.token_merging
        vision: Any = self.vision_config
        rows, columns = grid(height, width, vision.patch_size)
        merged = rows * columns - sum(self.removals(height, width, merging))
        return FrameTokenCounts(merged, first=rows * columns if merging.slowfast else merged)


def beyond_trained(kept_ratio: float, trained: Sequence[float]) -> str | None:
    """A warning, where weights that were trained at several kept ratios are to caption at one outside of them.

    >>> beyond_trained(0.3, (0.1, 0.5, 1.0)) is None
    True
    >>> beyond_trained(0.05, (0.1, 0.5, 1.0))
    'kept ratio 0.05 lies outside of those that the model was trained at (0.1, 0.5, 1): captions may be worse'
    """
    if not trained or min(trained) <= kept_ratio <= max(trained):
        return None
    ratios = ", ".join(f"{ratio:g}" for ratio in trained)
    return (
        f"kept ratio {kept_ratio:g} lies outside of those that the model was trained at ({ratios}): captions may be"
        " worse"
    )
