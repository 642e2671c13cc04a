"""What a tower reads of a frame: its patches, and where they lie, at any size of the frame.

Shapes: B images, H and W their sides in pixels, R rows and S or K columns of patches, N tokens, C channels.
"""

from typing import Any

import torch
from torch import Tensor, nn

MASK_TOKEN = "mask_token"
"""DINOv2's, which stands for patches that are hidden in pretraining alone."""

ORIGINALS_REST = 0.1
"""Patches that the original adds to the length over which positions are spread, as DINO did."""


class FrameEmbeddings(nn.Module):
    """Patch, class and position embeddings of frames of any size, around the parameters that the tower has.

    Another grid than the tower's own gets its position embeddings interpolated as a function of the parameter, which is
    never replaced, and trains. Parameters of the parts are read by calling the parts and in no other way: where weights
    are sharded (ZeRO-3), to look at one is to gather it, and a rank that looks alone waits for the others for ever.
    """

    native_side: int
    rest: float

    def patches(self, pixels_BCHW: Tensor) -> Tensor:
        """(B, C, R, S)."""
        raise NotImplementedError

    def class_token(self) -> Tensor | None:
        """Something that can be expanded to (B, 1, C)."""
        raise NotImplementedError

    def table(self, device: torch.device) -> Tensor:
        """(N, C): the positions of the tower's own grid, that of the class token first where there is one."""
        raise NotImplementedError

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        """(B, N, C), the class token first where the tower has one; pixels that do not fill a patch are cut off."""
        patches_BCRS = self.patches(pixels_BCHW)
        class_B1C = self.class_token()
        positions_NC = self._positions(patches_BCRS.shape[2], patches_BCRS.shape[3], pixels_BCHW.device)
        hidden_BNC = patches_BCRS.flatten(2).transpose(1, 2)
        if class_B1C is not None:
            hidden_BNC = torch.cat([class_B1C.expand(hidden_BNC.shape[0], 1, -1), hidden_BNC], dim=1)
        return hidden_BNC + positions_NC

    def _positions(self, rows: int, columns: int, device: torch.device) -> Tensor:
        class_tokens = 0 if self.class_token() is None else 1
        return resized_positions(self.table(device), self.native_side, rows, columns, class_tokens, self.rest)


class ContrastiveEmbeddings(FrameEmbeddings):
    """Of CLIP and SigLIP."""

    rest = ORIGINALS_REST

    def __init__(self, embeddings: nn.Module) -> None:
        super().__init__()
        source: Any = embeddings
        self.patch_embedding: nn.Conv2d = source.patch_embedding
        self.position_embedding: nn.Embedding = source.position_embedding
        self.class_embedding: nn.Parameter | None = getattr(source, "class_embedding", None)
        self.native_side = source.image_size // source.patch_size

    def patches(self, pixels_BCHW: Tensor) -> Tensor:
        return self.patch_embedding(pixels_BCHW)

    def class_token(self) -> Tensor | None:
        return self.class_embedding

    def table(self, device: torch.device) -> Tensor:
        rows = self.native_side**2 + int(self.class_embedding is not None)
        return self.position_embedding(torch.arange(rows, device=device))


class DinoEmbeddings(FrameEmbeddings):
    """Of DINOv2."""

    rest = 0.0

    def __init__(self, embeddings: nn.Module) -> None:
        super().__init__()
        source: Any = embeddings
        self.patch_embeddings: nn.Module = source.patch_embeddings
        self.cls_token: nn.Parameter = source.cls_token
        self.mask_token: nn.Parameter | None = source.mask_token
        self.position_embeddings: nn.Parameter = source.position_embeddings
        self.dropout: nn.Dropout = source.dropout
        self.native_side = source.patch_embeddings.image_size[0] // source.patch_embeddings.patch_size[0]

    def patches(self, pixels_BCHW: Tensor) -> Tensor:
        projection: Any = self.patch_embeddings.projection
        return projection(pixels_BCHW)

    def class_token(self) -> Tensor:
        return self.cls_token

    def table(self, device: torch.device) -> Tensor:
        return self.position_embeddings[0]

    def forward(self, pixels_BCHW: Tensor) -> Tensor:
        return self.dropout(super().forward(pixels_BCHW))


def frame_embeddings(embeddings: nn.Module) -> FrameEmbeddings:
    """Around the embeddings of a tower of transformers, of whichever kind."""
    return (DinoEmbeddings if hasattr(embeddings, "cls_token") else ContrastiveEmbeddings)(embeddings)


def resized_positions(
    positions_NC: Tensor, side: int, rows: int, columns: int, class_tokens: int, rest: float = ORIGINALS_REST
) -> Tensor:
    """(class_tokens + rows * columns, C): the positions of a grid of `side` x `side` patches, on another grid."""
    if (rows, columns) == (side, side):
        return positions_NC
    grid_SSC = positions_NC[class_tokens:].unflatten(0, (side, side)).float()
    # Two products instead of torch's own bicubic, whose backward pass on CUDA adds in an order that changes.
    with torch.autocast(positions_NC.device.type, enabled=False):
        rows_RS, columns_KS = (bicubic_weights(side, count, rest, positions_NC.device) for count in (rows, columns))
        grid_RSC = (rows_RS @ grid_SSC.flatten(1)).unflatten(1, (side, -1))
        resized_NC = (columns_KS @ grid_RSC).flatten(0, 1).to(positions_NC.dtype)
    return torch.cat([positions_NC[:class_tokens], resized_NC])


def bicubic_weights(side: int, count: int, rest: float = ORIGINALS_REST, device: torch.device | None = None) -> Tensor:
    """(count, side): how much of each of `side` values goes into each of `count` that are spread over the same length.

    Cubic convolution (Keys, 1981) with a = -0.75, edges repeated: the bicubic of PyTorch, and of the original. `rest`
    is what is added to the length, in values: it decides which sources are weighed.
    """
    a = -0.75
    scale = (count + rest) / side
    source_K = (torch.arange(count, device=device) + 0.5) / scale - 0.5
    nearest_K4 = source_K.floor()[:, None] + torch.arange(-1, 3, device=device)
    away_K4 = (source_K[:, None] - nearest_K4).abs()
    inner_K4 = ((a + 2) * away_K4 - (a + 3)) * away_K4.square() + 1
    outer_K4 = a * (((away_K4 - 5) * away_K4 + 8) * away_K4 - 4)
    weight_K4 = torch.where(away_K4 <= 1, inner_K4, outer_K4)
    index_S = torch.arange(side, device=device)
    return (weight_K4[..., None] * (nearest_K4.clamp(0, side - 1)[..., None] == index_S)).sum(dim=1)
