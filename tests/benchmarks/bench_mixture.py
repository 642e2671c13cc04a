"""CPU seconds of steps at several kept ratios in turn beside those of one ratio after another, and of a mixture's plan.

A small network on random frames, in full packs. Asked for: as many tokens a CPU second, to 0.97. The plan: 20 million
records of one image or a video of 8 frames, at one ratio and at five; asked for: at most 1.5 times the time.

    python tests/benchmarks/bench_mixture.py [rounds, 6] [records, 20_000_000]
"""

import resource
import sys
import time

import numpy as np
import torch
from transformers import CLIPVisionConfig, LlamaConfig

from aurora_cli.config.merging import TokenMerging
from aurora_cli.data.batches.collator import Batch, TrainingSample, collate
from aurora_cli.data.batches.loader import with_floats
from aurora_cli.data.batches.mixture import RatioWheels
from aurora_cli.data.batches.packing import count_packs, plan_packs
from aurora_cli.models.auroracap import AuroraCap
from aurora_cli.models.config import AuroraCapConfig
from aurora_cli.training.step import packed_rows

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 6
RECORDS = int(sys.argv[2]) if len(sys.argv) > 2 else 20_000_000
RATIOS = (0.1, 0.25, 0.5, 1.0)
SIDE, PATCH, TEXT, PACK_TOKENS, VOCABULARY = 112, 8, 60, 2048, 600


def network() -> AuroraCap:
    torch.manual_seed(0)
    vision = CLIPVisionConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=6,
        num_attention_heads=4,
        image_size=SIDE,
        patch_size=PATCH,
    )
    text = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=96, intermediate_size=288, num_hidden_layers=3, num_attention_heads=3,
        num_key_value_heads=3,
    )  # fmt: skip
    return AuroraCap(
        AuroraCapConfig(vision_config=vision, text_config=text, image_token_index=VOCABULARY, image_size=SIDE)
    )


def pack(model: AuroraCap, merging: TokenMerging) -> Batch:
    """As many samples of one image as a pack holds at the ratio."""
    rng = np.random.default_rng(0)
    counts = model.config.frame_token_counts(SIDE, SIDE, merging)
    samples = []
    for number in range(PACK_TOKENS // (TEXT + counts.merged)):
        ids = np.concatenate([[-200], rng.integers(4, VOCABULARY, TEXT)]).astype(np.int32)
        labels = np.where(np.arange(TEXT + 1) < TEXT // 2, -100, ids).astype(np.int32)
        frames = rng.integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8)
        samples.append(TrainingSample(number, str(number), ids, labels, [1], frames))
    batch = collate([samples], image_token_id=VOCABULARY, token_counts=counts, merging=merging)
    return with_floats(batch, (0.5,) * 3, (0.3,) * 3)


def step_s(model: AuroraCap, optimizer: torch.optim.Optimizer, batch: Batch) -> float:
    began = time.process_time()
    model(packed=packed_rows(batch, torch.device("cpu")), merging=batch.merging).loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    return time.process_time() - began


def steps() -> None:
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4)
    packs = [pack(model, TokenMerging(kept_ratio=ratio)) for ratio in RATIOS]
    for one in packs:
        step_s(model, optimizer, one)
    alone, mixed = [0.0] * len(packs), 0.0
    for _ in range(ROUNDS):
        for number, one in enumerate(packs):
            alone[number] += sum(step_s(model, optimizer, one) for _ in range(2))
        mixed += sum(step_s(model, optimizer, one) for _ in range(2) for one in packs)
    tokens = [one.text_tokens + one.visual_tokens for one in packs]
    total = 2 * ROUNDS * sum(tokens)
    print(f"tokens a CPU second: {total / sum(alone):,.0f} at one ratio after another, {total / mixed:,.0f} mixed:")
    print(f"ratio of mixed to single {sum(alone) / mixed:.3f} (asked for: 0.97)")
    for ratio, seconds, one, number in zip(RATIOS, alone, packs, tokens, strict=True):
        print(f"  {ratio:>5}: {2 * ROUNDS * number / seconds:>9,.0f} tokens/s, {len(one.sample_ids)} samples a pack")


def plan() -> None:
    rng = np.random.default_rng(0)
    text = np.clip(np.exp(rng.normal(np.log(120), 0.8, RECORDS)), 5, 1500).astype(np.int32)
    frames = np.where(rng.random(RECORDS) < 0.8, 1, 8).astype(np.int32)
    room = {"pack_tokens": 8192, "pack_frames": 64, "batching": "packed"}

    def planned(numbers: np.ndarray, tokens: int) -> int:
        return plan_packs(text[numbers] + frames[numbers] * tokens, frames[numbers], seed=0, epoch=0, **room).num_packs

    everything = np.arange(RECORDS)
    began = time.process_time()
    single = planned(everything, 73)
    single_s, single_mb = time.process_time() - began, _most_mb()
    tokens = (36, 73, 182, 364, 729)
    alone_s = 0.0
    for each in tokens:
        began = time.process_time()
        planned(everything[:: len(tokens)], each)
        alone_s += time.process_time() - began
    began = time.process_time()
    wheels = RatioWheels((0.2,) * 5, everything, np.full(RECORDS, 5, np.uint8), 0)
    deal_s = time.process_time() - began
    ratios = wheels.ratios(everything, 0)
    packs = [planned(everything[ratios == number], each) for number, each in enumerate(tokens)]
    mixed_s, mixed_mb = time.process_time() - began, _most_mb()
    began = time.process_time()
    counted = [
        count_packs(text[own] + frames[own] * each, frames[own], **room)
        for own, each in ((everything[ratios == number], each) for number, each in enumerate(tokens))
    ]
    assert counted == packs
    print(
        f"{RECORDS:,} records: one ratio {single_s:.1f} s ({single:,} packs, {single_mb:,.0f} MB), five {mixed_s:.1f},"
        f" {deal_s:.1f} of them once a run ({sum(packs):,} packs, {mixed_mb:,.0f} MB):"
        f" {mixed_s / single_s:.2f} times; a fifth at each ratio {alone_s:.1f};"
        f" counted in {time.process_time() - began:.1f} s"
    )


def _most_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    torch.set_num_threads(1)
    steps()
    plan()
