"""Samples a second of packed rows beside padded batches of 8 and length-grouped ones, in one model and one run.

Text of log-uniform lengths (30 to 2,000 tokens), made of words that follow each other by a rule, so that there is
something to learn. Each way trains the same number of samples from the same weights. Asked for: packed at twice
padded's speed in the language model, and above grouped's, with the same loss. The language model is timed without its
optimizer and the batch's making; the whole step with both.

    python tests/benchmarks/bench_packing.py [samples, 512] [repeats, 2]
"""

import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from transformers import CLIPVisionConfig, LlamaConfig

from aurora_cli.data.batches.collator import Batch, TrainingSample, collate
from aurora_cli.data.batches.packing import Batching, plan_packs
from aurora_cli.data.batches.sampler import epoch_order
from aurora_cli.models.auroracap import AuroraCap
from aurora_cli.models.config import AuroraCapConfig
from aurora_cli.models.merge_plan import FrameTokenCounts
from aurora_cli.training.step import packed_rows

SAMPLES = int(sys.argv[1]) if len(sys.argv) > 1 else 512
REPEATS = int(sys.argv[2]) if len(sys.argv) > 2 else 2
SHORTEST, LONGEST, BATCH, VOCABULARY = 30, 2000, 8, 512
PACK_TOKENS = 4096
RATE = 2e-3
WAYS: tuple[Batching, ...] = ("padded", "grouped", "packed")


class Outcome(NamedTuple):
    model_s: float
    """In forward and backward."""
    step_s: float
    """With the making of batches and the optimizer."""
    fill: float
    samples: list[int]
    """Seen after each step."""
    losses: list[float]
    """Means over the step's tokens."""


def texts() -> list[TrainingSample]:
    """Each word is the one before times 5 plus 17, and one in four is any."""
    rng = np.random.default_rng(0)
    lengths = np.exp(rng.uniform(np.log(SHORTEST), np.log(LONGEST), SAMPLES)).astype(int)
    samples = []
    for number, length in enumerate(lengths.tolist()):
        words = rng.integers(0, VOCABULARY, length)
        follows = rng.random(length) < 0.75
        for place in range(1, length):
            if follows[place]:
                words[place] = (words[place - 1] * 5 + 17) % VOCABULARY
        ids = words.astype(np.int32)
        samples.append(TrainingSample(number, str(number), ids, ids.copy(), [], None))
    return samples


def model() -> AuroraCap:
    """The tiny preset's language model."""
    torch.manual_seed(0)
    vision = CLIPVisionConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2)
    text = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=96,
        intermediate_size=288,
        num_hidden_layers=2,
        num_attention_heads=3,
        num_key_value_heads=3,
        max_position_embeddings=LONGEST,
    )
    return AuroraCap(AuroraCapConfig(vision_config=vision, text_config=text, image_token_index=VOCABULARY))


def batches(samples: list[TrainingSample], way: Batching) -> Iterator[Batch]:
    """An epoch; a step holds about as many tokens in every way."""
    lengths = np.array([len(sample.input_ids) for sample in samples], np.int32)
    plan = plan_packs(
        lengths, np.zeros_like(lengths), pack_tokens=PACK_TOKENS, pack_frames=1, batching=way, seed=0, epoch=0
    )
    rows = 1 if way == "packed" else BATCH
    order = epoch_order(plan.num_packs, BATCH if way == "grouped" else 1, seed=0, epoch=0)
    for start in range(0, len(order), rows):
        packs = [[samples[number] for number in plan.pack(int(pack))] for pack in order[start : start + rows]]
        yield collate(packs, image_token_id=VOCABULARY, token_counts=FrameTokenCounts(0, 0))


def trained(samples: list[TrainingSample], way: Batching) -> Outcome:
    network = model()
    language = [*network.model.language_model.parameters(), *network.lm_head.parameters()]
    optimizer = torch.optim.AdamW(language, RATE, betas=(0.9, 0.98))
    model_s, taken, positions, seen, losses = 0.0, 0, 0, [], []
    began = time.perf_counter()
    for batch in batches(samples, way):
        inside = time.perf_counter()
        loss = network(packed=packed_rows(batch, torch.device("cpu"))).loss
        loss.backward()
        model_s += time.perf_counter() - inside
        torch.nn.utils.clip_grad_norm_(language, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        taken += len(batch.sample_ids)
        positions += batch.positions
        seen.append(taken)
        losses.append(loss.item())
    step_s = time.perf_counter() - began
    return Outcome(model_s, step_s, sum(len(sample.input_ids) for sample in samples) / positions, seen, losses)


def quarter_means(outcome: Outcome) -> list[float]:
    """The loss in each quarter of the samples."""
    quarters = np.minimum(3, (np.array(outcome.samples) - 1) * 4 // SAMPLES)
    return [float(np.mean(np.array(outcome.losses)[quarters == quarter])) for quarter in range(4)]


def main() -> None:
    samples = texts()
    tokens = sum(len(sample.input_ids) for sample in samples)
    print(f"{SAMPLES} samples, {tokens:,} tokens; {torch.get_num_threads()} threads; least of {REPEATS} runs in turns")
    runs: dict[Batching, list[Outcome]] = {way: [] for way in WAYS}
    for _ in range(REPEATS):
        for way in WAYS:
            runs[way].append(trained(samples, way))
    least = {way: (min(o.model_s for o in runs[way]), min(o.step_s for o in runs[way])) for way in WAYS}
    print("          fill  steps   model: samples/s  of padded   whole step: samples/s  of padded   loss by quarter")
    for way in WAYS:
        (model_s, step_s), one = least[way], runs[way][0]
        curve = "  ".join(f"{loss:.3f}" for loss in quarter_means(one))
        print(
            f"{way:8} {one.fill:6.1%} {len(one.losses):6} {SAMPLES / model_s:18.1f}"
            f" {least['padded'][0] / model_s:10.2f} {SAMPLES / step_s:23.1f}"
            f" {least['padded'][1] / step_s:10.2f}   {curve}"
        )


if __name__ == "__main__":
    main()
