"""Captioning on a CPU: what merging spares before the first word, and what a batch spares behind it.

A video of 8 frames, random weights: the `tiny` preset's model, whose tower has 6 layers here, for its 3 cannot come
down to a tenth of the tokens; and a language model shaped like SmolLM2-135M (30 layers of 576, 9 heads over 3,
49,152 words) behind a tower shaped like CLIP ViT-B/16.

Prefill is `generate` of one token: tower, projector, and the language model over the prompt. Its speed-up at kept ratio
0.1 over 1.0 stands beside the ratio of FLOPs, counted from the plan of tokens (matrix products alone). Decoding is what
32 tokens more take, for 8 videos in one batch and one by one; asked for is 3 times the tokens a second. Every time is
the least of `runs` that take turns.

    python tests/benchmarks/bench_caption.py [runs, 3] [threads, 2]
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch

from aurora_cli.config.merging import TokenMerging
from aurora_cli.config.presets import load_preset
from aurora_cli.models.auroracap import AuroraCap, AuroraCapConfig

FRAMES, WORDS, NEW_TOKENS, BATCH = 8, 24, 32, 8
PLACEHOLDER = -200
MERGED, WHOLE = TokenMerging(kept_ratio=0.1), TokenMerging(kept_ratio=1.0)

SMOL = {
    "model_type": "llama", "vocab_size": 49152, "hidden_size": 576, "intermediate_size": 1536,
    "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3, "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}  # fmt: skip
VIDEO_B = {
    "model_type": "clip_vision_model", "image_size": 224, "patch_size": 16, "hidden_size": 768,
    "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12,
}  # fmt: skip


class Flops(NamedTuple):
    """Of one video's prefill."""

    tower: int
    projector: int
    language_model: int

    @property
    def total(self) -> int:
        return sum(self)


def build(vision: dict[str, Any], text: dict[str, Any]) -> AuroraCap:
    torch.manual_seed(0)
    config = AuroraCapConfig(vision_config=vision, text_config=text, image_token_index=text["vocab_size"])
    return AuroraCap(config).eval()


def flops(model: AuroraCap, merging: TokenMerging) -> Flops:
    """Matrix products alone; a multiplication and an addition are two."""
    config: Any = model.config
    vision, text = config.vision_config, config.text_config
    side, patch, width = vision.image_size, vision.patch_size, vision.hidden_size
    patches = (side // patch) ** 2
    tokens, tower = patches + 1, 2 * patches * 3 * patch**2 * width
    for removed in config.removals(side, side, merging):
        matching = 2 * (tokens // 2) ** 2 * width // vision.num_attention_heads if removed else 0
        tower += 8 * tokens * width**2 + 4 * tokens**2 * width + matching
        tokens -= removed
        tower += 4 * tokens * width * vision.intermediate_size
    seen, wide = config.frame_token_counts(side, side, merging).merged, text.hidden_size
    projector = 2 * seen * (width * wide + wide**2)
    prompt = FRAMES * seen + WORDS
    shared = text.num_key_value_heads / text.num_attention_heads
    layer = prompt * (4 + 4 * shared) * wide**2 + 4 * prompt**2 * wide + 6 * prompt * wide * text.intermediate_size
    head = 2 * wide * text.vocab_size  # of the last place only
    return Flops(FRAMES * tower, FRAMES * projector, int(text.num_hidden_layers * layer) + head)


def generate(model: AuroraCap, merging: TokenMerging, videos: int, new_tokens: int) -> None:
    side = model.config.vision_config.image_size
    ids = torch.randint(10, 500, (videos, FRAMES + WORDS), generator=torch.Generator().manual_seed(1))
    ids[:, :FRAMES] = PLACEHOLDER
    pixels = torch.randn(videos * FRAMES, 3, side, side, generator=torch.Generator().manual_seed(2))
    out = model.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        pixel_values=pixels,
        media_lengths=[FRAMES] * videos,
        merging=merging,
        min_new_tokens=new_tokens,
        max_new_tokens=new_tokens,
        do_sample=False,
        pad_token_id=0,
    )
    if out.shape != (videos, new_tokens):
        raise RuntimeError(f"{tuple(out.shape)} tokens came, {videos} x {new_tokens} were asked for")


def one_by_one(model: AuroraCap, new_tokens: int) -> None:
    for _ in range(BATCH):
        generate(model, MERGED, 1, new_tokens)


def least(works: dict[str, Callable[[], None]], runs: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(runs + 1):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - began)
    return {name: min(taken[1:]) for name, taken in seconds.items()}  # the first run makes kernels ready


def main() -> None:
    runs, threads = (int(sys.argv[n]) if len(sys.argv) > n else (3, 2)[n - 1] for n in (1, 2))
    torch.set_num_threads(threads)
    tiny = load_preset("tiny", Path()).common["model"]
    models = {
        "tiny": (tiny["vision_config"] | {"num_hidden_layers": 6}, tiny["text_config"]),
        "SmolLM2-135M": (VIDEO_B, SMOL),
    }
    for name, configs in models.items():
        model = build(*configs)
        works: dict[str, Callable[[], None]] = {
            "whole": partial(generate, model, WHOLE, 1, 1),
            "merged": partial(generate, model, MERGED, 1, 1),
            "batch, prefill": partial(generate, model, MERGED, BATCH, 1),
            "batch": partial(generate, model, MERGED, BATCH, 1 + NEW_TOKENS),
            "singly, prefill": partial(one_by_one, model, 1),
            "singly": partial(one_by_one, model, 1 + NEW_TOKENS),
        }
        took = least(works, runs)
        whole, merged = flops(model, WHOLE), flops(model, MERGED)
        decoded = {how: took[how] - took[f"{how}, prefill"] for how in ("batch", "singly")}
        rate = {how: BATCH * NEW_TOKENS / seconds for how, seconds in decoded.items()}
        print(
            f"{name}: prefill at 1.0 {took['whole'] * 1e3:,.1f} ms ({whole.total / 1e9:,.2f} GFLOP), at 0.1 "
            f"{took['merged'] * 1e3:,.1f} ms ({merged.total / 1e9:,.2f}): {took['whole'] / took['merged']:.2f} times "
            f"as fast, FLOPs {whole.total / merged.total:.2f} (tower {whole.tower / merged.tower:.2f}, language model "
            f"{whole.language_model / merged.language_model:.2f})"
        )
        print(
            f"{name}: decoding {rate['batch']:,.0f} tokens/s in a batch of {BATCH}, {rate['singly']:,.0f} one by one: "
            f"{rate['batch'] / rate['singly']:.2f}; with prefill {took['singly'] / took['batch']:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    with torch.inference_mode():
        main()
