"""What a CLIP or SigLIP tower reads of a frame: its patches, and where they lie, at any size of the frame.

Shapes: B images, H and W their sides in pixels, R rows and S or K columns of patches, N tokens, C channels.
"""

from typing import Any

import torch
from torch import Tensor, nn


class FrameEmbeddings(nn.Module):
    """Patch, class and position embeddings of frames of any size, around the parameters that the tower has.

    Another grid than the tower's own gets its position embeddings interpolated as a function of the parameter, which is
    never replaced, and trains. Parameters of the parts are read by calling the parts and in no other way: where weights
    are sharded (ZeRO-3), to look at one is to gather it, and a rank that looks alone waits for the others for ever.
    """

    def __init__(self, embeddings: nn.Module) -> None:
        super().__init__()
        source: Any = embeddings
        self.patch_embedding: nn.Conv2d = source.patch_embedding
        self.position_embedding: nn.Embedding = source.position_embedding
        self.class_embedding: nn.Parameter | None = getattr(source, "class_embedding", None)
        self.native_side: int = source.image_size // source.patch_size

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        """(B, N, C), the class token first where the tower has one; pixels that do not fill a patch are cut off."""
        patches_BCRS = self.patch_embedding(pixels_BCHW)
        positions_NC = self._positions(patches_BCRS.shape[2], patches_BCRS.shape[3], pixels_BCHW.device)
        hidden_BNC = patches_BCRS.flatten(2).transpose(1, 2)
        if self.class_embedding is not None:
            class_B1C = self.class_embedding.expand(hidden_BNC.shape[0], 1, -1)
            hidden_BNC = torch.cat([class_B1C, hidden_BNC], dim=1)
        return hidden_BNC + positions_NC

    def _positions(self, rows: int, columns: int, device: torch.device) -> Tensor:
        side = self.native_side
        class_tokens = 0 if self.class_embedding is None else 1
        positions_NC = self.position_embedding(torch.arange(side * side + class_tokens, device=device))
        if (rows, columns) == (side, side):
            return positions_NC
        grid_SSC = positions_NC[class_tokens:].unflatten(0, (side, side)).float()
        # Two products instead of torch's own bicubic, whose backward pass on CUDA adds in an order that changes.
        with torch.autocast(positions_NC.device.type, enabled=False):
            rows_RS, columns_KS = (bicubic_weights(side, count, positions_NC.device) for count in (rows, columns))
            grid_RSC = (rows_RS @ grid_SSC.flatten(1)).unflatten(1, (side, -1))
            resized_NC = (columns_KS @ grid_RSC).flatten(0, 1).to(positions_NC.dtype)
        return torch.cat([positions_NC[:class_tokens], resized_NC])


def bicubic_weights(side: int, count: int, device: torch.device | None = None) -> Tensor:
    """(count, side): how much of each of `side` values goes into each of `count` that are spread over the same length.

    Cubic convolution (Keys, 1981) with a = -0.75, edges repeated: the bicubic of PyTorch, and of the original. A tenth
    of a value more than the length has, as DINO and the original have it: it decides which sources are weighed.
    """
    a = -0.75
    scale = (count + 0.1) / side
    source_K = (torch.arange(count, device=device) + 0.5) / scale - 0.5
    nearest_K4 = source_K.floor()[:, None] + torch.arange(-1, 3, device=device)
    away_K4 = (source_K[:, None] - nearest_K4).abs()
    inner_K4 = ((a + 2) * away_K4 - (a + 3)) * away_K4.square() + 1
    outer_K4 = a * (((away_K4 - 5) * away_K4 + 8) * away_K4 - 4)
    weight_K4 = torch.where(away_K4 <= 1, inner_K4, outer_K4)
    index_S = torch.arange(side, device=device)
    return (weight_K4[..., None] * (nearest_K4.clamp(0, side - 1)[..., None] == index_S)).sum(dim=1)
