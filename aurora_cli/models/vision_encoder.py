"""A CLIP or SigLIP tower of transformers whose layers merge tokens.

Sources: ToMe (Bolya et al., ICLR 2023, section 3): merge between attention and MLP, by the mean over heads of the keys,
and add log(size) to the attention logits of each key (section 3, "proportional attention"). The layers stay
transformers' own modules under their own names and are touched only by calling their parts, so that LoRA, sharded
parameters (ZeRO-3) and saved names work as they do in transformers.

Shapes: B images, N tokens, C channels, H heads, D channels of a head.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import CLIPVisionConfig, PreTrainedConfig, PreTrainedModel, SiglipVisionConfig

from aurora_cli.errors import UsageError
from aurora_cli.models.token_merging import Matching, log_size_bias, match_tokens, merge_tokens


class Encoded(NamedTuple):
    """What the layers made of a batch of frames."""

    hidden: Tensor
    """(B, N, C), the class token first where the tower has one."""

    size: Tensor | None
    """(B, N) float32: patches that each token stands for; none where nothing was merged."""

    matchings: list[Matching | None]
    """Of each layer; none where it merged nothing."""


class MergingEncoder(nn.Module):
    """Runs as many of the tower's layers as the removal plan is long, and merges in each what the plan says."""

    def __init__(self, layers: nn.ModuleList, class_token: bool) -> None:
        super().__init__()
        self.layers = layers
        self.class_token = class_token
        self.gradient_checkpointing = False

    def forward(self, hidden_BNC: Tensor, removals: Sequence[int], proportional_attention: bool = False) -> Encoded:
        run = self._recomputed if self.gradient_checkpointing and self.training else _called
        size_BN: Tensor | None = None
        matchings: list[Matching | None] = []
        # A stretch runs from one decision to the next, so that recomputing it cannot decide differently.
        metric_BND: Any = None
        if len(removals) > 0:
            hidden_BNC, metric_BND = run(self._attend, 0, hidden_BNC, None, removals[0] > 0)
        for index, removed in enumerate(removals):
            matching = match_tokens(metric_BND, removed, self.class_token) if removed else None
            matchings.append(matching)
            following = index + 1 if index + 1 < len(removals) else None
            wants_metric = following is not None and removals[following] > 0
            hidden_BNC, size_BN, metric_BND = run(
                self._stretch, index, following, hidden_BNC, size_BN, matching, proportional_attention, wants_metric
            )
        return Encoded(hidden_BNC, size_BN, matchings)

    def _stretch(
        self,
        index: int,
        following: int | None,
        hidden_BNC: Tensor,
        size_BN: Tensor | None,
        matching: Matching | None,
        proportional_attention: bool,
        wants_metric: bool,
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Merge and MLP of layer `index`, then attention of the layer `following` it."""
        layer: Any = self.layers[index]
        if matching is not None:
            hidden_BNC, size_BN = merge_tokens(hidden_BNC, size_BN, matching)
        hidden_BNC = hidden_BNC + layer.mlp(layer.layer_norm2(hidden_BNC))
        if following is None:
            return hidden_BNC, size_BN, None
        hidden_BNC, metric_BND = self._attend(
            following, hidden_BNC, size_BN if proportional_attention else None, wants_metric
        )
        return hidden_BNC, size_BN, metric_BND

    def _attend(
        self, index: int, hidden_BNC: Tensor, size_BN: Tensor | None, wants_metric: bool
    ) -> tuple[Tensor, Tensor | None]:
        layer: Any = self.layers[index]
        attention = layer.self_attn
        normed_BNC = layer.layer_norm1(hidden_BNC)
        query, key, value = (
            projection(normed_BNC).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        attended_BHND = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if size_BN is None else log_size_bias(size_BN, query.dtype),
            dropout_p=attention.dropout if self.training else 0.0,
            scale=attention.scale,
        )
        hidden_BNC = hidden_BNC + attention.out_proj(attended_BHND.transpose(1, 2).flatten(2))
        return hidden_BNC, key.detach().float().mean(dim=1) if wants_metric else None

    def _recomputed(self, stretch: Callable[..., Any], *args: Any) -> Any:
        return checkpoint(stretch, *args, use_reentrant=False)


def _called(stretch: Callable[..., Any], *args: Any) -> Any:
    return stretch(*args)


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
    places_S = torch.arange(side, device=device)
    return (weight_K4[..., None] * (nearest_K4.clamp(0, side - 1)[..., None] == places_S)).sum(dim=1)


def has_class_token(config: PreTrainedConfig) -> bool:
    """Whether the tower puts a class token before the patches."""
    if isinstance(config, CLIPVisionConfig):
        return True
    if isinstance(config, SiglipVisionConfig):
        return False
    raise UsageError(f"the vision tower is a {config.model_type}; CLIP and SigLIP towers are supported")


def install_merging(tower: PreTrainedModel) -> None:
    """Give a tower of transformers embeddings for any size and the merging encoder, around the modules that it has."""
    modules: Any = tower
    modules.embeddings = FrameEmbeddings(modules.embeddings)
    modules.encoder = MergingEncoder(modules.encoder.layers, has_class_token(tower.config))


def encode(
    tower: PreTrainedModel, pixels_BCHW: Tensor, removals: Sequence[int], proportional_attention: bool = False
) -> Encoded:
    """Run a tower with merging installed, up to and with layer `len(removals)`."""
    modules: Any = tower
    hidden_BNC = modules.embeddings(pixels_BCHW.to(tower.dtype))
    if isinstance(tower.config, CLIPVisionConfig):
        hidden_BNC = modules.pre_layrnorm(hidden_BNC)
    return modules.encoder(hidden_BNC, removals, proportional_attention)


def unused_parameters(tower: PreTrainedModel, layers_run: int) -> Iterator[tuple[str, nn.Parameter]]:
    """Parameters that no feature depends on: the layers that never run, and what pools behind the last layer."""
    used_layers = tuple(f"encoder.layers.{index}." for index in range(layers_run))
    for name, parameter in tower.named_parameters():
        if name.startswith(("embeddings.", "pre_layrnorm.", *used_layers)):
            continue
        yield name, parameter
