"""Training steps of a 1B- and a 7B-shaped captioner on one GPU, on drawn data: tokens a second, MFU, peak memory.

Kept ratio 1.0 and 0.1, padded and packed, the language model frozen and learning, compiled and not. Weights, gradients
and moments are bf16 (a 7B network and fp32 moments do not fit into 80 GB), activations are recomputed. MFU is the share
of the card's peak that the model's own FLOPs take; recomputation does not count as work. Without CUDA it skips itself;
`tiny` tries the script on a CPU.

    python tests/benchmarks/bench_gpu.py [tiny]
"""

import itertools
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from aurora_cli.checkpoints.blueprint import llava_config
from aurora_cli.config.merging import TokenMerging
from aurora_cli.config.settings import ModelSettings
from aurora_cli.constants import IGNORE_INDEX, IMAGE_PLACEHOLDER
from aurora_cli.data.batches.collator import Batch, TrainingSample, collate
from aurora_cli.data.batches.loader import with_floats
from aurora_cli.models.auroracap import AuroraCap, AuroraCapConfig
from aurora_cli.training.costs import LayerStack, forward_flops, passes
from aurora_cli.training.step import packed_rows

PEAKS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}
"""bf16 FLOP/s without sparsity, from the makers' sheets."""

PACK_TOKENS = 4096
STEPS, WARM = 4, 2


def text_shape(width: int, between: int, layers: int, heads: int, vocabulary: int = 32000) -> dict[str, Any]:
    return {
        "model_type": "llama", "hidden_size": width, "intermediate_size": between, "num_hidden_layers": layers,
        "num_attention_heads": heads, "num_key_value_heads": heads, "vocab_size": vocabulary,
        "max_position_embeddings": 8192,
    }  # fmt: skip


def tower_shape(width: int, between: int, layers: int, heads: int, size: int = 378) -> dict[str, Any]:
    return {
        "model_type": "clip_vision_model", "hidden_size": width, "intermediate_size": between,
        "num_hidden_layers": layers, "num_attention_heads": heads, "image_size": size, "patch_size": 14,
    }  # fmt: skip


SHAPES = {
    "1B": (text_shape(2048, 5632, 22, 32), tower_shape(1280, 5120, 32, 16)),
    "7B": (text_shape(4096, 11008, 32, 32), tower_shape(1280, 5120, 32, 16)),
}
TINY = {"tiny": (text_shape(64, 128, 2, 2, 671), tower_shape(32, 64, 6, 2, 56))}


def network(text: dict[str, Any], vision: dict[str, Any], ratio: float, device: torch.device) -> AuroraCap:
    settings = ModelSettings(image_size=vision["image_size"])
    values = llava_config(vision, text, settings).to_dict()
    merging = TokenMerging(kept_ratio=ratio).model_dump()
    config = AuroraCapConfig.from_dict({**values, "merging": merging, "image_size": settings.image_size})
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    with device:
        model = AuroraCap._from_config(config, dtype=dtype)
    model.checkpoint_activations()
    return model.train()


def batch(model: AuroraCap, packed: bool, seed: int) -> Batch:
    """One pack of 4,096 tokens, or four rows padded to the longest: images, each with 50 to 400 tokens of text."""
    size = model.config.image_size or 0
    counts = model.config.frame_token_counts(size, size)
    generator = np.random.default_rng(seed)
    rows: list[list[TrainingSample]] = [[]]
    used = 0
    for number in itertools.count():
        length = int(generator.integers(50, 400))
        if packed and used + counts.merged + length > PACK_TOKENS:
            break
        if not packed and number == 4:
            break
        text = generator.integers(4, 600, length, dtype=np.int32)
        ids = np.concatenate([np.array([IMAGE_PLACEHOLDER], np.int32), text])
        labels = np.where(np.arange(length + 1) < length // 3, IGNORE_INDEX, ids)
        pixels = generator.integers(0, 256, (1, size, size, 3), dtype=np.uint8)
        one = TrainingSample(number, str(number), ids, labels, [1], pixels)
        used += counts.merged + length
        if packed:
            rows[0].append(one)
        else:
            rows = [*(row for row in rows if row), [one]]
    settings = ModelSettings()
    made = collate(rows, image_token_id=model.config.image_token_id, token_counts=counts)
    return with_floats(made, settings.image_mean, settings.image_std)


def flops(model: AuroraCap, given: Batch, frozen: bool) -> float:
    """Of forward and backward of one batch, recomputation aside."""
    text: Any = model.config.get_text_config()
    tower: Any = model.model.vision_tower
    language: Any = model.model.language_model

    def layers(config: Any, number: int, one: Any) -> LayerStack:
        matrices = sum(parameter.numel() for parameter in one.parameters() if parameter.ndim == 2)
        return LayerStack(number, config.hidden_size, config.intermediate_size, matrices)

    reading = layers(text, text.num_hidden_layers, language.layers[0])
    seeing = layers(tower.config, model.config.tower_layers, tower.encoder.layers[0])
    segments = [
        int(count)
        for row in given.segment_ids
        for count in torch.bincount(row[row > 0] if (row > 0).any() else row)
        if count
    ]
    forward = sum(text.num_hidden_layers * forward_flops(reading, [length], attended=0.5) for length in segments)
    forward += 2.0 * text.hidden_size * text.vocab_size * given.target_tokens
    size = model.config.image_size or 0
    tokens = (size // tower.config.patch_size) ** 2 + 1
    lengths = [tokens := tokens - removed for removed in model.config.removals(size, size, model.config.token_merging)]
    frames = 0 if given.pixel_values is None else len(given.pixel_values)
    seen = frames * forward_flops(seeing, lengths, attended=1.0)
    return forward * passes(trained=not frozen, trained_before=True, recomputed=False) + seen * passes(
        trained=not frozen, trained_before=False, recomputed=False
    )


def measured(model: AuroraCap, packed: bool, frozen: bool, compiled: bool, device: torch.device) -> str:
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    parts = ("projector",) if frozen else ("vision_tower", "projector", "language_model")
    learning = [parameter for part in parts for parameter in model.part_parameters(part).values()]
    for parameter in learning:
        parameter.requires_grad_(True)
    optimizer = torch.optim.AdamW(learning, lr=1e-5, fused=True)
    call: Any = torch.compile(model, dynamic=True) if compiled else model
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    began, tokens, work = 0.0, 0, 0.0
    for step in range(WARM + STEPS):
        if step == WARM:
            _wait(cuda)
            began, tokens, work = time.perf_counter(), 0, 0.0
        given = batch(model, packed, step)
        output = call(packed=packed_rows(given, device), num_items_in_batch=float(given.target_tokens))
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        tokens += given.text_tokens + given.visual_tokens
        work += flops(model, given, frozen)
    _wait(cuda)
    seconds = time.perf_counter() - began
    name = torch.cuda.get_device_name() if cuda else "cpu"
    peak = next((value for key, value in PEAKS.items() if key in name), None)
    memory = torch.cuda.max_memory_allocated() / 2**30 if cuda else 0.0
    mfu = f"{work / seconds / peak:.1%}" if peak else "unknown"
    return f"{tokens / seconds:10,.0f} tokens/s, MFU {mfu}, peak {memory:.1f} GiB"


def _wait(cuda: bool) -> None:
    if cuda:
        torch.cuda.synchronize()


def ways() -> Iterator[tuple[float, bool, bool, bool]]:
    """Ratio, packed, frozen, compiled."""
    yield from itertools.product((1.0, 0.1), (False, True), (True, False), (False, True))


def main() -> None:
    tiny = sys.argv[1:] == ["tiny"]
    if not torch.cuda.is_available() and not tiny:
        print("skipped: there is no CUDA device")
        return
    device = torch.device("cpu" if tiny else "cuda")
    for shape, (text, vision) in (TINY if tiny else SHAPES).items():
        for ratio, packed, frozen, compiled in ways():
            if tiny and compiled:
                continue
            torch.manual_seed(0)
            said = f"{shape} ratio {ratio} {'packed' if packed else 'padded'} {'frozen' if frozen else 'full  '}"
            said += " compiled" if compiled else " eager   "
            try:
                print(
                    said, measured(network(text, vision, ratio, device), packed, frozen, compiled, device), flush=True
                )
            except torch.cuda.OutOfMemoryError:
                print(said, "does not fit", flush=True)
            if device.type == "cuda":
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
