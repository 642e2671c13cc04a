"""The three parts of the network, by the names that settings and checkpoints have for them."""

from typing import Literal

Part = Literal["vision_tower", "projector", "language_model"]

PARTS: tuple[Part, ...] = ("vision_tower", "projector", "language_model")
"""In the order that an image takes."""

SUBMODULES: dict[Part, str] = {
    "vision_tower": "model.vision_tower",
    "projector": "model.multi_modal_projector",
    "language_model": "model.language_model",
}
"""Where a part stands in the network; the language model's head stands outside."""

PREFIXES: dict[Part, tuple[str, ...]] = {
    "vision_tower": ("model.vision_tower.",),
    "projector": ("model.multi_modal_projector.",),
    "language_model": ("model.language_model.", "lm_head."),
}
"""What the names of a part's parameters begin with."""
