"""The original's algorithm, slow and obvious: one image, one patch, one pair at a time, in float64.

Written from its description (`tests/golden/README.md`, `docs/how-it-works/merging.md`), schedule `constant`, no
proportional attention. Nothing of `aurora_cli` is used, and everything is differentiable.
"""

import copy
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers.activations import ACT2FN

Weights = dict[str, Tensor]


class Seen(NamedTuple):
    features: Tensor
    """(tokens, channels), without the class token."""
    sizes: list[list[float]]
    """Of every layer that ran."""


def tower_features(weights: Weights, config: Any, image: Tensor, kept_ratio: float) -> Seen:
    """What the projector receives of one image (3, H, W)."""
    height, width = image.shape[1:]
    patch, side = config.patch_size, config.image_size // config.patch_size
    rows, columns = height // patch, width // patch
    positions = weights["embeddings.position_embedding.weight"]
    kernel = weights["embeddings.patch_embedding.weight"].flatten(1)
    tokens = [weights["embeddings.class_embedding"] + positions[0]]
    for row in range(rows):
        for column in range(columns):
            pixels = image[:, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
            tokens.append(kernel @ pixels.flatten() + position_of(positions[1:], side, row, column, rows, columns))
    hidden = torch.stack(tokens)
    if "pre_layrnorm.weight" in weights:
        hidden = norm(hidden, weights, "pre_layrnorm", config)
    sizes: list[list[float]] = []
    size = [1.0] * len(tokens)
    removed = int(height * width / patch**2 * (1 - kept_ratio) / config.num_hidden_layers)
    for layer in range(config.num_hidden_layers - 1):
        name = f"encoder.layers.{layer}"
        attended, keys = attention(norm(hidden, weights, f"{name}.layer_norm1", config), weights, name, config)
        hidden, size = merge(hidden + attended, size, keys, min(removed, (len(hidden) - 1) // 2))
        inner = linear(norm(hidden, weights, f"{name}.layer_norm2", config), weights, f"{name}.mlp.fc1")
        hidden = hidden + linear(ACT2FN[config.hidden_act](inner), weights, f"{name}.mlp.fc2")
        sizes.append(size)
    return Seen(hidden[1:], sizes)


def as_clip(weights: Weights) -> Weights:
    """A DINOv2 tower's weights as a CLIP tower's without norm before its layers that computes the same at its own size:
    each linear map takes the factors that scale what it gives, positions the bias of the patches."""
    named = {
        "embeddings.class_embedding": weights["embeddings.cls_token"][0, 0],
        "embeddings.patch_embedding.weight": weights["embeddings.patch_embeddings.projection.weight"],
        "embeddings.position_embedding.weight": weights["embeddings.position_embeddings"][0].clone(),
    }
    named["embeddings.position_embedding.weight"][1:] += weights["embeddings.patch_embeddings.projection.bias"]
    for name, tensor in weights.items():
        if not name.startswith("encoder.layer.") or "layer_scale" in name:
            continue
        layer = ".".join(name.split(".")[:3])
        for last, scale in (("o_proj", "layer_scale1"), ("fc2", "layer_scale2")):
            if f".{last}." in name:
                factors = weights[f"{layer}.{scale}.lambda1"]
                tensor = tensor * (factors if tensor.ndim == 1 else factors[:, None])
        for dino, clip in (
            ("encoder.layer.", "encoder.layers."),
            (".norm", ".layer_norm"),
            (".attention.", ".self_attn."),
            (".o_proj.", ".out_proj."),
        ):
            name = name.replace(dino, clip)
        named[name] = tensor
    return named


def position_of(grid: Tensor, side: int, row: int, column: int, rows: int, columns: int) -> Tensor:
    """The position embedding of one patch: the grid's own, or bicubic between its neighbours, edges repeated."""
    if (rows, columns) == (side, side):
        return grid[row * side + column]
    total = torch.zeros_like(grid[0])
    for near_row, row_weight in taps(row, rows, side):
        for near_column, column_weight in taps(column, columns, side):
            total = total + grid[near_row * side + near_column] * (row_weight * column_weight)
    return total


def taps(place: int, count: int, side: int) -> list[tuple[int, float]]:
    source = (place + 0.5) * side / (count + 0.1) - 0.5
    found = []
    for near in range(math.floor(source) - 1, math.floor(source) + 3):
        away, a = abs(source - near), -0.75
        if away <= 1:
            weight = (a + 2) * away**3 - (a + 3) * away**2 + 1
        else:
            weight = a * away**3 - 5 * a * away**2 + 8 * a * away - 4 * a
        found.append((min(max(near, 0), side - 1), weight))
    return found


def attention(tokens: Tensor, weights: Weights, name: str, config: Any) -> tuple[Tensor, Tensor]:
    """The output, and the mean over heads of the keys."""
    heads, channels = config.num_attention_heads, config.hidden_size // config.num_attention_heads
    query, key, value = (linear(tokens, weights, f"{name}.self_attn.{part}_proj") for part in "qkv")
    outputs, keys = [], []
    for head in range(heads):
        mine = slice(head * channels, (head + 1) * channels)
        outputs.append((query[:, mine] @ key[:, mine].T / channels**0.5).softmax(dim=-1) @ value[:, mine])
        keys.append(key[:, mine])
    mean = torch.stack(keys).mean(dim=0).detach()
    return linear(torch.cat(outputs, dim=1), weights, f"{name}.self_attn.out_proj"), mean


def merge(tokens: Tensor, size: list[float], metric: Tensor, removed: int) -> tuple[Tensor, list[float]]:
    if removed == 0:  # nor does the order change
        return tokens, size
    half_a, half_b = list(range(0, len(tokens), 2)), list(range(1, len(tokens), 2))
    edges = []
    for a in half_a[1:]:  # the class token never goes
        likeness = [float(F.cosine_similarity(metric[a], metric[b], dim=0)) for b in half_b]
        best = max(range(len(half_b)), key=lambda place: likeness[place])
        edges.append((likeness[best], a, half_b[best]))
    edges.sort(key=lambda edge: -edge[0])
    goes = {a: b for _, a, b in edges[:removed]}
    rows, sizes = [], []
    for place in [a for a in half_a if a not in goes] + half_b:
        members = [place] + [a for a, b in goes.items() if b == place]
        total = sum(size[member] for member in members)
        rows.append(sum(tokens[member] * size[member] for member in members) / total)
        sizes.append(total)
    return torch.stack(rows), sizes


def norm(tokens: Tensor, weights: Weights, name: str, config: Any) -> Tensor:
    shape = tokens.shape[-1:]
    return F.layer_norm(tokens, shape, weights[f"{name}.weight"], weights[f"{name}.bias"], config.layer_norm_eps)


def linear(tokens: Tensor, weights: Weights, name: str) -> Tensor:
    return F.linear(tokens, weights[f"{name}.weight"], weights[f"{name}.bias"])


class Captioner:
    """The whole network, sample by sample; `weights` are float64 copies that collect gradients."""

    def __init__(self, model: Any) -> None:
        self.config = model.config.vision_config
        self.weights = {
            name: tensor.detach().double().requires_grad_()
            for name, tensor in model.state_dict().items()
            if name.startswith(("model.vision_tower.", "model.multi_modal_projector."))
        }
        self.language = copy.deepcopy(model.model.language_model).double()
        self.language.config._attn_implementation = "eager"
        self.head = copy.deepcopy(model.lm_head).double()
        if model.config.tie_word_embeddings:
            self.head.weight = self.language.embed_tokens.weight

    def part(self, prefix: str) -> Weights:
        return {name.removeprefix(prefix): tensor for name, tensor in self.weights.items() if name.startswith(prefix)}

    def visual(self, image: Tensor, kept_ratio: float) -> Tensor:
        seen = tower_features(self.part("model.vision_tower."), self.config, image.double(), kept_ratio)
        projector = self.part("model.multi_modal_projector.")
        return linear(F.gelu(linear(seen.features, projector, "linear_1")), projector, "linear_2")

    def sample(
        self,
        ids: list[int],
        labels: list[int],
        frames: list[Tensor],
        media: list[int],
        kept_ratio: float,
        slowfast: bool,
    ) -> tuple[Tensor, list[int]]:
        """(tokens, vocabulary) logits of one sample, and what each place is taught to be."""
        first_of_video = [length > 1 and frame == 0 for length in media for frame in range(length)]
        pieces: list[Tensor] = []
        expected: list[int] = []
        frame = 0
        for token, label in zip(ids, labels, strict=True):
            if token == -200:
                ratio = 1.0 if slowfast and first_of_video[frame] else kept_ratio
                pieces.append(self.visual(frames[frame], ratio))
                expected += [-100] * len(pieces[-1])
                frame += 1
            else:
                pieces.append(self.language.embed_tokens(torch.tensor([token])))
                expected.append(label)
        hidden = self.language(inputs_embeds=torch.cat(pieces)[None]).last_hidden_state[0]
        return self.head(hidden), expected
