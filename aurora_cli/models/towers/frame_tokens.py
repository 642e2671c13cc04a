"""Tower and projector for frames of one size, merged by one plan: tensors in, tensors out, nothing decided in between.

For `torch.compile(fullgraph=True)`, `torch.export` and ONNX, which follow tensors and no settings. The plan is made
with the module; by it a frame has a fixed number of tokens, and how many frames come at a time is left open.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from aurora_cli.models.vision_encoder import encode


class FrameTokens(nn.Module):
    """(F, 3, H, W) -> (F, tokens, hidden): what the language model reads of each frame, the class token left out."""

    def __init__(
        self, vision_tower: nn.Module, projector: nn.Module, removals: Sequence[int], proportional_attention: bool
    ) -> None:
        super().__init__()
        self.vision_tower: Any = vision_tower
        self.projector = projector
        self.removals = tuple(removals)
        self.proportional_attention = proportional_attention

    def forward(self, pixel_values: Tensor) -> Tensor:
        hidden_FNC = encode(self.vision_tower, pixel_values, self.removals, self.proportional_attention).hidden
        return self.projector(hidden_FNC[:, 1:] if self.vision_tower.encoder.class_token else hidden_FNC)
