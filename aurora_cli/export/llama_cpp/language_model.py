"""The language model: which kinds llama.cpp computes as transformers does, under which keys and names.

Sources: llama.cpp, `src/llama-arch.cpp` (names), `src/llama-model.cpp` (which tensors a kind may have), and its
converter. Its Llama rotates neighbouring values of a head, transformers' the two halves of it: rows of q and k are laid
out for that (`interleaved`). Its Qwen rotates halves as transformers does.
"""

import math
import re
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import torch

from aurora_cli.checkpoints import names
from aurora_cli.checkpoints.lazy_tensors import LazyTensor, Tensors
from aurora_cli.errors import UsageError
from aurora_cli.export.llama_cpp.files import FileTensor, Metadata, TensorType, matrix_type


class Architecture(NamedTuple):
    """A kind in llama.cpp."""

    name: str
    interleaves: bool
    """Whether rows of q and k are laid out for it."""


ARCHITECTURES = {
    "llama": Architecture("llama", True),
    "mistral": Architecture("llama", True),
    "qwen2": Architecture("qwen2", False),
    "qwen3": Architecture("qwen3", False),
}
"""By transformers' `model_type`. SmolLM2 is a llama."""

_HINT = f"Written are {', '.join(ARCHITECTURES)} (SmolLM2 is a llama). --format huggingface takes any language model."
_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)\.(weight|bias)")
_ROPE_FACTORS = "rope_freqs.weight"


def architecture_of(config: Any) -> Architecture:
    """
    Raises:
        UsageError: llama.cpp has none that computes it, or this file does not write it.
    """
    kind = str(config.model_type)
    problem = _problem(kind, config)
    if problem is not None:
        raise UsageError(f"a {kind} cannot be written as GGUF: {problem}", hint=_HINT)
    return ARCHITECTURES[kind]


def _problem(kind: str, config: Any) -> str | None:
    if kind not in ARCHITECTURES:
        return "it is of none of the kinds that are proved against llama.cpp"
    if config.hidden_act not in ("silu", "swish"):
        return f"its MLPs have {config.hidden_act}, and llama.cpp's this kind silu"
    window = getattr(config, "sliding_window", None)
    if window and getattr(config, "use_sliding_window", True) and window < config.max_position_embeddings:
        return f"its attention reaches {window:,} tokens back (sliding_window)"
    rope = _rope_of(config)
    if rope["rope_type"] not in ("default", "dynamic", "linear", "yarn", "llama3"):
        return f"its rotary positions are scaled by {rope['rope_type']}"
    unusual = [key for key in ("attention_factor", "mscale", "mscale_all_dim") if rope.get(key) is not None]
    if unusual:
        return f"its rotary positions have {', '.join(unusual)}"
    if rope.get("partial_rotary_factor", 1.0) != 1.0:
        return "only a part of each head is rotated"
    return None


def _rope_of(config: Any) -> dict[str, Any]:
    """How its positions rotate; `default` where nothing is scaled.

    >>> from transformers import LlamaConfig
    >>> _rope_of(LlamaConfig())["rope_type"]
    'default'
    """
    rope: Mapping[str, Any] = getattr(config, "rope_parameters", None) or {}
    theta = rope.get("rope_theta") or getattr(config, "rope_theta", None) or 10_000.0
    return {"rope_type": "default", **rope, "rope_theta": float(theta)}


def head_size(config: Any) -> int:
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def metadata_of(config: Any, rows: int) -> Metadata:
    """The keys of the network, for a vocabulary of so many rows."""
    arch = architecture_of(config).name
    head = head_size(config)
    own: Metadata = {
        "vocab_size": rows,
        "context_length": int(config.max_position_embeddings),
        "embedding_length": int(config.hidden_size),
        "block_count": int(config.num_hidden_layers),
        "feed_forward_length": int(config.intermediate_size),
        "attention.head_count": int(config.num_attention_heads),
        "attention.head_count_kv": int(config.num_key_value_heads),
        "attention.key_length": head,
        "attention.value_length": head,
        "attention.layer_norm_rms_epsilon": float(config.rms_norm_eps),
        "rope.dimension_count": head,
        **_rope_keys(config),
    }
    return {f"{arch}.{key}": value for key, value in own.items()}


def _rope_keys(config: Any) -> Metadata:
    rope = _rope_of(config)
    keys: Metadata = {"rope.freq_base": rope["rope_theta"]}
    if rope["rope_type"] not in ("linear", "yarn"):  # `dynamic` scales nothing within the context that is stated
        return keys
    keys |= {"rope.scaling.type": rope["rope_type"], "rope.scaling.factor": float(rope["factor"])}
    if rope["rope_type"] == "linear":
        return keys
    original = int(rope.get("original_max_position_embeddings") or config.max_position_embeddings)
    return keys | {
        "rope.scaling.original_context_length": original,
        "rope.scaling.yarn_beta_fast": float(rope.get("beta_fast") or 32.0),
        "rope.scaling.yarn_beta_slow": float(rope.get("beta_slow") or 1.0),
    }


def tensors_of(tensors: Tensors, config: Any, rows: int, wanted: TensorType) -> list[FileTensor]:
    """The weights under llama.cpp's names, with `rows` rows of the vocabulary."""
    arch = architecture_of(config)
    written: list[FileTensor] = []
    for name, tensor in tensors.items():
        if names.part_of(name) != "language_model":
            continue
        new = file_name(name)
        if name in (names.EMBEDDING, names.HEAD):
            tensor = _first_rows(tensor, rows)
        elif arch.interleaves and new.split(".")[2:3] in (["attn_q"], ["attn_k"]):
            heads = config.num_attention_heads if ".attn_q." in new else config.num_key_value_heads
            tensor = tensor.with_values(partial(_interleaved, tensor, int(heads)))
        written.append(FileTensor(new, tensor, matrix_type(wanted, tensor.shape)))
    return [*written, *_rope_factors(tensors[names.EMBEDDING], config)]


def file_name(name: str) -> str:
    """
    >>> file_name("language_model.model.layers.3.self_attn.q_proj.bias")
    'blk.3.attn_q.bias'
    >>> file_name("language_model.lm_head.weight")
    'output.weight'
    """
    own = name.removeprefix(names.LANGUAGE)
    layer = _LAYER.fullmatch(own)
    if layer is not None and layer[2] in _NAMES:
        return f"blk.{layer[1]}.{_NAMES[layer[2]]}.{layer[3]}"
    stem, _, suffix = own.rpartition(".")
    if stem not in _NAMES:
        raise UsageError(f"the language model's {own} has no name in GGUF", hint=_HINT)
    return f"{_NAMES[stem]}.{suffix}"


def interleaved(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """Of each head the two halves' rows in turn.

    >>> interleaved(torch.arange(8)[:, None], 2).flatten().tolist()
    [0, 2, 1, 3, 4, 6, 5, 7]
    """
    return rows.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)


def _interleaved(tensor: LazyTensor, heads: int) -> torch.Tensor:
    return interleaved(tensor.read(), heads)


def _first_rows(tensor: LazyTensor, rows: int) -> LazyTensor:
    if tensor.shape[0] <= rows:
        return tensor
    return tensor.with_values(lambda: tensor.load()[:rows], (rows, *tensor.shape[1:]))


def _rope_factors(like: LazyTensor, config: Any) -> list[FileTensor]:
    """Of Llama 3: by how much each frequency is divided, which llama.cpp reads from a tensor."""
    rope = _rope_of(config)
    if rope["rope_type"] != "llama3":
        return []
    factors = llama3_factors(
        head_size(config),
        rope["rope_theta"],
        float(rope["factor"]),
        float(rope.get("low_freq_factor") or 1.0),
        float(rope.get("high_freq_factor") or 4.0),
        int(rope.get("original_max_position_embeddings") or 8192),
    )
    tensor = LazyTensor(like.file, _ROPE_FACTORS, tuple(factors.shape), torch.float32, lambda: factors)
    return [FileTensor(_ROPE_FACTORS, tensor, "F32")]


def llama3_factors(
    head: int, theta: float, factor: float, low: float, high: float, original_context: int
) -> torch.Tensor:
    """(head / 2,): 1 for waves that fit `high` times into the original context, `factor` for those that do not fit
    `low` times, in between a mean of the two by their frequencies.
    """
    values = []
    for pair in range(head // 2):
        wave = 2 * math.pi * theta ** (2 * pair / head)
        fits = original_context / wave
        smooth = min(1.0, max(0.0, (fits - low) / (high - low)))
        values.append(1.0 / ((1.0 - smooth) / factor + smooth))
    return torch.tensor(values)
