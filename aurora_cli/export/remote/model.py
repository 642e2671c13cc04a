"""What `AutoModelForImageTextToText` makes of an export with `trust_remote_code=True`."""

from typing import Any

from transformers.conversion_mapping import get_checkpoint_conversion_mapping, register_checkpoint_conversion_mapping

from aurora_cli.config.merging import TokenMerging
from aurora_cli.models.auroracap import AuroraCap


class AuroraCapForImageTextToText(AuroraCap):
    """AuroraCap with the kept ratio as a plain number, when it is loaded or when it is called."""

    @classmethod
    def from_pretrained(cls, *args: Any, token_kept_ratio: float | None = None, **kwargs: Any) -> Any:
        model = super().from_pretrained(*args, **kwargs)
        if token_kept_ratio is not None:
            model.config.merging = model.merging_with(token_kept_ratio).model_dump()
        return model

    def merging_with(self, token_kept_ratio: float) -> TokenMerging:
        """The stored settings with another kept ratio."""
        return self.config.token_merging.model_copy(update={"kept_ratio": token_kept_ratio})

    def forward(self, *args: Any, token_kept_ratio: float | None = None, **kwargs: Any) -> Any:
        if token_kept_ratio is not None:
            kwargs["merging"] = self.merging_with(token_kept_ratio)
        return super().forward(*args, **kwargs)

    def generate(self, *args: Any, token_kept_ratio: float | None = None, **kwargs: Any) -> Any:
        if token_kept_ratio is not None:
            kwargs["merging"] = self.merging_with(token_kept_ratio)
        return super().generate(*args, **kwargs)


register_checkpoint_conversion_mapping(
    AuroraCapForImageTextToText.__name__,
    get_checkpoint_conversion_mapping("llava"),  # pyright: ignore[reportArgumentType]
    overwrite=True,
)
