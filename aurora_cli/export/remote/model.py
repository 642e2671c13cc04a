"""What `AutoModelForImageTextToText` makes of an export with `trust_remote_code=True`.

What works with LLaVA's own class works with this one: a frame's placeholder in `input_ids` may be one image token, as
`AuroraProcessor` writes it, as well as -200, and `generate` returns the prompt with the answer.
"""

import warnings
from typing import Any

import torch
from torch import Tensor
from transformers.conversion_mapping import get_checkpoint_conversion_mapping, register_checkpoint_conversion_mapping

from aurora_cli.config.merging import TokenMerging
from aurora_cli.constants import IMAGE_PLACEHOLDER
from aurora_cli.models.auroracap import AuroraCap
from aurora_cli.models.config import beyond_trained


class AuroraCapForImageTextToText(AuroraCap):
    """AuroraCap with the kept ratio as a plain number, when it is loaded or when it is called."""

    @classmethod
    def from_pretrained(cls, *args: Any, token_kept_ratio: float | None = None, **kwargs: Any) -> Any:
        model = super().from_pretrained(*args, **kwargs)
        if token_kept_ratio is not None:
            model.config.merging = model.merging_with(token_kept_ratio).model_dump()
        return model

    def merging_with(self, token_kept_ratio: float) -> TokenMerging:
        """The stored settings with another kept ratio; of one beyond those of training Python warns once."""
        if warning := beyond_trained(token_kept_ratio, getattr(self.config, "trained_ratios", None) or ()):
            warnings.warn(warning, stacklevel=3)
        return self.config.token_merging.model_copy(update={"kept_ratio": token_kept_ratio})

    def frame_tokens(self, *args: Any, token_kept_ratio: float | None = None, **kwargs: Any) -> Any:
        if token_kept_ratio is not None:
            kwargs["merging"] = self.merging_with(token_kept_ratio)
        return super().frame_tokens(*args, **kwargs)

    def prepare_inputs(self, input_ids: Tensor, *args: Any, **kwargs: Any) -> Any:
        placeholders = input_ids.masked_fill(input_ids == self.config.image_token_id, IMAGE_PLACEHOLDER)
        return super().prepare_inputs(placeholders, *args, **kwargs)

    def forward(self, *args: Any, token_kept_ratio: float | None = None, **kwargs: Any) -> Any:
        if token_kept_ratio is not None:
            kwargs["merging"] = self.merging_with(token_kept_ratio)
        return super().forward(*args, **kwargs)

    def generate(self, input_ids: Tensor, *args: Any, token_kept_ratio: float | None = None, **kwargs: Any) -> Any:
        if token_kept_ratio is not None:
            kwargs["merging"] = self.merging_with(token_kept_ratio)
        found = super().generate(input_ids, *args, **kwargs)
        new = found if isinstance(found, Tensor) else found.sequences
        prompts = input_ids.masked_fill(input_ids == IMAGE_PLACEHOLDER, self.config.image_token_id)
        prompts = prompts.repeat_interleave(len(new) // len(prompts), dim=0).to(new.device)
        whole = torch.cat([prompts, new], dim=1)
        if isinstance(found, Tensor):
            return whole
        found.sequences = whole
        return found


register_checkpoint_conversion_mapping(
    AuroraCapForImageTextToText.__name__,
    get_checkpoint_conversion_mapping("llava"),  # pyrefly: ignore[bad-argument-type]
    overwrite=True,
)
