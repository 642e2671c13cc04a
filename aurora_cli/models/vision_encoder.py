"""A CLIP or SigLIP tower of transformers whose layers merge tokens.

Sources: ToMe (Bolya et al., ICLR 2023, section 3): merge between attention and MLP, by the mean over heads of the keys,
and add log(size) to the attention logits of each key (section 3, "proportional attention"). The layers stay
transformers' own modules under their own names and are touched only by calling their parts, so that LoRA, sharded
parameters (ZeRO-3) and saved names work as they do in transformers.

Shapes: B images, N tokens, C channels, H heads, D channels of a head.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import CLIPVisionConfig, PreTrainedModel

from aurora_cli.errors import UsageError
from aurora_cli.models.frame_embeddings import FrameEmbeddings
from aurora_cli.models.token_merging import Matching, log_size_bias, match_tokens, merge_tokens

CLASS_TOKEN = {"clip_vision_model": True, "siglip_vision_model": False}
"""Whether a kind of tower, by its `model_type`, puts a class token before the patches."""


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
        """Take embedded frames through layer after layer; of each, `removals` says how many tokens it merges away."""
        run = self._recomputed if self.gradient_checkpointing and self.training else _called
        size_BN: Tensor | None = None
        matchings: list[Matching | None] = []
        # A recomputed block runs from one decision to the next, so that recomputing it cannot decide differently.
        metric_BND: Any = None
        if len(removals) > 0:
            hidden_BNC, metric_BND = run(self._attend, 0, hidden_BNC, None, removals[0] > 0)
        for index, removed in enumerate(removals):
            matching = match_tokens(metric_BND, removed, self.class_token) if removed else None
            matchings.append(matching)
            following = index + 1 if index + 1 < len(removals) else None
            wants_metric = following is not None and removals[following] > 0
            hidden_BNC, size_BN, metric_BND = run(
                self._block, index, following, hidden_BNC, size_BN, matching, proportional_attention, wants_metric
            )
        return Encoded(hidden_BNC, size_BN, matchings)

    def _block(
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

    def _recomputed(self, block: Callable[..., Any], *args: Any) -> Any:
        return checkpoint(block, *args, use_reentrant=False)


def _called(block: Callable[..., Any], *args: Any) -> Any:
    return block(*args)


def has_class_token(model_type: str) -> bool:
    """Whether a kind of tower puts a class token before the patches.

    Raises:
        UsageError: it is none that is supported.
    """
    if model_type not in CLASS_TOKEN:
        raise UsageError(f"the vision tower is a {model_type}; CLIP and SigLIP towers are supported")
    return CLASS_TOKEN[model_type]


def install_merging(tower: PreTrainedModel) -> None:
    """Give a tower of transformers embeddings for any size and the merging encoder, around the modules that it has."""
    modules: Any = tower
    modules.embeddings = FrameEmbeddings(modules.embeddings)
    modules.encoder = MergingEncoder(modules.encoder.layers, has_class_token(tower.config.model_type))


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
