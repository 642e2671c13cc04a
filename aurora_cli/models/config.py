"""The config of an AuroraCap: LLaVA's, and how its tower merges."""

from typing import Any

from transformers import LlavaConfig

from aurora_cli.config.merging import TokenMerging
from aurora_cli.errors import SettingsError
from aurora_cli.models.merge_plan import WHOLE, FrameTokens, layers_before, num_visual_tokens, removal_plan
from aurora_cli.models.vision_encoder import has_class_token


class AuroraCapConfig(LlavaConfig):
    """LLaVA's config, with the merging that the weights were trained for and the side that frames are resized to.

    `model_type` stays `llava`: plain transformers loads what this describes, and merges nothing.
    """

    merging: dict | None = None
    """Fields of `TokenMerging`; none: nothing is merged."""

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
            class_token=has_class_token(vision),
        )

    def frame_tokens(self, height: int, width: int, merging: TokenMerging | None = None) -> FrameTokens:
        """Visual tokens of a frame of this size; none for `merging`: the config's."""
        vision: Any = self.vision_config
        merged, whole = (
            num_visual_tokens(
                height,
                width,
                vision.patch_size,
                vision.num_hidden_layers,
                self.tower_layers - vision.num_hidden_layers - 1,
                has_class_token(vision),
                chosen,
            )
            for chosen in (merging or self.token_merging, WHOLE)
        )
        return FrameTokens(merged, whole)
