"""Training steps packed, padded and length-grouped, in one run: samples a second, of the network and of the whole step.

Text of log-uniform lengths (30 to 2,000 tokens) through one small Llama, forwards and backwards, the same samples to
every way of batching, taking turns. Asked for: packed at least twice padded (batch of 8), and above length-grouped,
with the same loss. Seconds are the process's own (of all its threads), which other programs disturb less; the wall's
are told too. Then a checkpoint of that network against writing and syncing the same bytes: at most 1.5.

    python tests/benchmarks/bench_train.py [samples, 64] [rounds, 2]
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin would count as work

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import torch

from aurora_cli.checkpoints.blueprint import llava_config
from aurora_cli.config.settings import ModelSettings
from aurora_cli.constants import IGNORE_INDEX
from aurora_cli.data.batches.collator import Batch, TrainingSample, collate
from aurora_cli.data.batches.packing import Batching, plan_packs
from aurora_cli.models.auroracap import AuroraCap, AuroraCapConfig
from aurora_cli.models.merge_plan import FrameTokenCounts
from aurora_cli.runs.metadata import TrainState
from aurora_cli.training import checkpoint
from aurora_cli.training.engine.zero_state import ParameterState
from aurora_cli.training.step import packed_rows
from tests.run_files import metadata

PACK_TOKENS = 4096
PADDED_BATCH = 8
WAYS: tuple[Batching, ...] = ("packed", "grouped", "padded")
TEXT = {
    "model_type": "llama", "hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 4,
    "num_attention_heads": 6, "num_key_value_heads": 6, "vocab_size": 671, "max_position_embeddings": 4096,
}  # fmt: skip
VISION = {
    "model_type": "clip_vision_model", "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
    "num_attention_heads": 2, "image_size": 28, "patch_size": 14,
}  # fmt: skip


def samples(number: int) -> list[TrainingSample]:
    generator = np.random.default_rng(0)
    lengths = np.exp(generator.uniform(np.log(30), np.log(2000), number)).astype(int)
    made = []
    for index, length in enumerate(lengths):
        ids = generator.integers(4, 671, length, dtype=np.int32)
        made.append(
            TrainingSample(index, str(index), ids, np.where(np.arange(length) < 2, IGNORE_INDEX, ids), [], None)
        )
    return made


def batches(of: list[TrainingSample], way: Batching) -> Iterator[Batch]:
    """Packs one by one; padded and grouped samples eight a batch."""
    lengths = np.array([len(sample.input_ids) for sample in of])
    packs = plan_packs(
        lengths, np.zeros_like(lengths), pack_tokens=PACK_TOKENS, pack_frames=1, batching=way, seed=0, epoch=0
    )
    size = 1 if way == "packed" else PADDED_BATCH
    for start in range(0, packs.num_packs, size):
        rows = [[of[n] for n in packs.pack(number)] for number in range(start, min(start + size, packs.num_packs))]
        yield collate(rows, image_token_id=671, token_counts=FrameTokenCounts(0, 0))


def network() -> AuroraCap:
    torch.manual_seed(0)
    settings = ModelSettings(image_size=28)
    values = llava_config(VISION, TEXT, settings).to_dict() | {"image_size": 28}
    return AuroraCap(AuroraCapConfig.from_dict(values)).train()


class Epoch(NamedTuple):
    """What an epoch took."""

    inside_s: float
    """CPU seconds in the network."""
    whole_s: float
    """CPU seconds, collating included."""
    wall_s: float
    loss: float
    """Over all target tokens, before anything is learned."""
    fill: float


def one_epoch(of: list[TrainingSample], way: Batching) -> Epoch:
    model = network()
    learning = list(model.part_parameters("language_model").values())
    optimizer = torch.optim.AdamW(learning, lr=1e-4, fused=True)
    targets = sum(len(sample.input_ids) - 2 for sample in of)
    inside = loss = 0.0
    began, began_wall = time.process_time(), time.perf_counter()
    tokens = positions = 0
    for batch in batches(of, way):
        start = time.process_time()
        output = model(packed=packed_rows(batch, torch.device("cpu")), num_items_in_batch=targets)
        output.loss.backward()
        inside += time.process_time() - start
        loss += output.loss.item()
        tokens, positions = tokens + batch.text_tokens, positions + batch.positions
    optimizer.step()  # of one step over all: the same gradient whatever the batches
    wall = time.perf_counter() - began_wall
    return Epoch(inside, time.process_time() - began, wall, loss, tokens / positions)


def save(model: AuroraCap, folder: Path) -> float:
    """Seconds of a checkpoint of weights and moments."""
    learning = model.part_parameters("language_model")
    state = [ParameterState(name, p.detach(), torch.zeros_like(p), torch.zeros_like(p)) for name, p in learning.items()]
    engine = SimpleNamespace(
        is_main=True,
        shapes=lambda: {one.name: tuple(one.weight.shape) for one in state},
        state=lambda: iter(state),
        barrier=lambda: None,
    )
    began = time.perf_counter()
    description = metadata("bench", 1, ("language_model",))
    checkpoint.save(folder, engine, description, TrainState(step=1), keep=1)
    return time.perf_counter() - began


def write_bytes(folder: Path, size: int) -> float:
    """Seconds of writing as many bytes into one file, durable."""
    content = os.urandom(1 << 20) * (size >> 20) + bytes(size % (1 << 20))
    began = time.perf_counter()
    with open(folder / "bytes", "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - began


def main() -> None:
    number, rounds = (int(sys.argv[index]) if len(sys.argv) > index else usual for index, usual in ((1, 64), (2, 2)))
    torch.set_num_threads(2)
    of = samples(number)
    one_epoch(of[:16], "packed")  # warm
    best: dict[str, Epoch] = {}
    for _ in range(rounds):
        for way in WAYS:
            epoch = one_epoch(of, way)
            best[way] = min(best.get(way, epoch), epoch)
    for way, epoch in best.items():
        rates = [number / seconds for seconds in (epoch.inside_s, epoch.whole_s, epoch.wall_s)]
        print(
            f"{way:<8}{rates[0]:7.1f} samples a CPU second in the network, {rates[1]:7.1f} of the whole step,"
            f" {rates[2]:7.1f} a second, {epoch.fill:.1%} full, loss {epoch.loss:.5f}"
        )
    packed = best["packed"]
    for way, wanted in (("padded", 2), ("grouped", 1)):
        other = best[way]
        print(
            f"packed / {way:<8} {other.inside_s / packed.inside_s:.2f} (wanted {wanted}),"
            f" of the whole step {other.whole_s / packed.whole_s:.2f}, on the wall {other.wall_s / packed.wall_s:.2f}"
        )
    model = network()
    size = 12 * sum(parameter.numel() for parameter in model.part_parameters("language_model").values())
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        saved = min(save(model, Path(folder) / str(run)) for run in range(5))
        written = min(write_bytes(Path(folder), size) for _ in range(5))
    ratio = saved / written
    print(f"checkpoint of {size / 1e6:.1f} MB {saved:.3f} s, its bytes {written:.3f} s: {ratio:.2f} (wanted 1.5)")


if __name__ == "__main__":
    main()
