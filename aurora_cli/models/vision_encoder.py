"""A tower of transformers - CLIP, SigLIP, DINOv2 - whose layers merge tokens.

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
from transformers import PreTrainedModel

from aurora_cli.errors import HostError
from aurora_cli.models.token_merging import Matching, log_size_bias, match_tokens, merge_tokens
from aurora_cli.models.towers.frame_embeddings import MASK_TOKEN, frame_embeddings
from aurora_cli.models.towers.kinds import TowerKind, kind_named


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

    def __init__(self, encoder: nn.Module, kind: TowerKind) -> None:
        super().__init__()
        self.names = kind.names
        self.class_token = kind.class_token
        self.add_module(kind.names.layers, getattr(encoder, kind.names.layers))
        self.gradient_checkpointing = False

    @property
    def stack(self) -> nn.ModuleList:
        """The layers, under whatever name the kind has them."""
        return getattr(self, self.names.layers)

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
        layer: Any = self.stack[index]
        if matching is not None:
            hidden_BNC, size_BN = merge_tokens(hidden_BNC, size_BN, matching)
        normed_BNC = getattr(layer, self.names.norm_before_mlp)(hidden_BNC)
        hidden_BNC = hidden_BNC + self._weighed(layer, 1, layer.mlp(normed_BNC))
        if following is None:
            return hidden_BNC, size_BN, None
        hidden_BNC, metric_BND = self._attend(
            following, hidden_BNC, size_BN if proportional_attention else None, wants_metric
        )
        return hidden_BNC, size_BN, metric_BND

    def _attend(
        self, index: int, hidden_BNC: Tensor, size_BN: Tensor | None, wants_metric: bool
    ) -> tuple[Tensor, Tensor | None]:
        layer: Any = self.stack[index]
        attention = getattr(layer, self.names.attention)
        normed_BNC = getattr(layer, self.names.norm_before_attention)(hidden_BNC)
        heads = getattr(attention, self.names.heads)
        query, key, value = (
            projection(normed_BNC).unflatten(-1, (heads, -1)).transpose(1, 2)
            for projection in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        attended_BHND = F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=None if size_BN is None else log_size_bias(size_BN, query.dtype),
            dropout_p=getattr(attention, self.names.dropout) if self.training else 0.0,
            scale=getattr(attention, self.names.scale),
        )
        out_BNC = getattr(attention, self.names.projection_out)(attended_BHND.transpose(1, 2).flatten(2))
        hidden_BNC = hidden_BNC + self._weighed(layer, 0, out_BNC)
        return hidden_BNC, key.detach().float().mean(dim=1) if wants_metric else None

    def _weighed(self, layer: nn.Module, which: int, added_BNC: Tensor) -> Tensor:
        """What attention (0) or MLP (1) add, as the layer scales it and leaves it out of some frames in training."""
        if self.names.scales is not None:
            added_BNC = getattr(layer, self.names.scales[which])(added_BNC)
        return added_BNC if self.names.drop_path is None else getattr(layer, self.names.drop_path)(added_BNC)

    def _recomputed(self, block: Callable[..., Any], *args: Any) -> Any:
        return checkpoint(block, *args, use_reentrant=False)


def _called(block: Callable[..., Any], *args: Any) -> Any:
    return block(*args)


def install_merging(tower: PreTrainedModel) -> None:
    """Give a tower of transformers embeddings for any size and the merging encoder, around the modules that it has.

    Raises:
        UsageError: it is of a kind that is not supported.
        HostError: transformers is too old for this kind.
    """
    modules: Any = tower
    kind = kind_named(tower.config.model_type)
    first: Any = getattr(modules.encoder, kind.names.layers)[0]
    if not hasattr(getattr(first, kind.names.attention), kind.names.projection_out):
        raise HostError(
            f"the installed transformers builds the layers of a {tower.config.model_type} otherwise",
            hint="pip install --upgrade 'transformers>=5.24'",
        )
    modules.embeddings = frame_embeddings(modules.embeddings)
    modules.encoder = MergingEncoder(modules.encoder, kind)


def encode(
    tower: PreTrainedModel, pixels_BCHW: Tensor, removals: Sequence[int], proportional_attention: bool = False
) -> Encoded:
    """Run a tower with merging installed, up to and with layer `len(removals)`."""
    modules: Any = tower
    hidden_BNC = modules.embeddings(pixels_BCHW.to(tower.dtype))
    norm = kind_named(tower.config.model_type).norm_of_embeddings
    if norm is not None:
        hidden_BNC = getattr(modules, norm)(hidden_BNC)
    return modules.encoder(hidden_BNC, removals, proportional_attention)


def unused_parameters(tower: PreTrainedModel, layers_run: int) -> Iterator[tuple[str, nn.Parameter]]:
    """Parameters that no feature depends on: the layers that never run, what pools behind the last layer, and what
    stands for patches that pretraining hides."""
    kind = kind_named(tower.config.model_type)
    used = [f"encoder.{kind.names.layers}.{index}." for index in range(layers_run)]
    if kind.norm_of_embeddings is not None:
        used.append(f"{kind.norm_of_embeddings}.")
    for name, parameter in tower.named_parameters():
        if name.startswith(("embeddings.", *used)) and name != f"embeddings.{MASK_TOKEN}":
            continue
        yield name, parameter
