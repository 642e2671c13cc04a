"""Samples a CPU second of training with a frozen tower: its features kept, not kept, and the floor, without any tower.

The projection stage, and adapters on the language model beside the projector, over random images as JPEG files, in
`aurora train`'s own loop: the steps of the first epoch, then of the second. Uncached, every epoch decodes and runs the
tower; cached, the second reads. The floor are the same steps with all batches in memory: the language model alone. CPU
seconds, which other programs disturb less than seconds. Asked for: cached at least 0.85 of the floor's rate, and half
of the CPU seconds in the projection stage.

    python tests/benchmarks/bench_features.py [images, 96] [small|real, both] [--threads 2] [--write docs/peers.json]
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin would count as work

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from peers import figures
from PIL import Image

from aurora_cli.config.presets import presets_folder
from aurora_cli.config.settings import Settings
from aurora_cli.data.batches.training_data import TrainingData
from aurora_cli.pipeline import merge_shards
from aurora_cli.pipeline.tokenize import command as tokenize
from aurora_cli.pipeline.train import command as train
from aurora_cli.runs.metadata import TrainState
from aurora_cli.training.trainer import Trainer

TOWERS: dict[str, dict[str, Any]] = {
    "small": {
        "model_type": "siglip_vision_model", "hidden_size": 96, "intermediate_size": 384, "num_hidden_layers": 4,
        "num_attention_heads": 4, "image_size": 112, "patch_size": 16,
    },
    "real": {
        "model_type": "siglip_vision_model", "hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 6,
        "num_attention_heads": 6, "image_size": 224, "patch_size": 16,
    },
}  # fmt: skip
TEXT = {
    "model_type": "llama", "hidden_size": 256, "intermediate_size": 688, "num_hidden_layers": 6,
    "num_attention_heads": 4, "num_key_value_heads": 4, "vocab_size": 671, "max_position_embeddings": 2048,
    "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3,
}  # fmt: skip
LEARNS: dict[str, dict[str, Any]] = {
    "projection": {"projector": {"lr": 1e-4}},
    "language": {
        "projector": {"lr": 1e-4},
        "language_model": {"lr": 1e-4},
        "lora": {"language_model": {"rank": 8}},
    },
}
"""By stage."""

KEPT_RATIO = 0.25
EPOCHS = 3


def make_workspace(root: Path, stage: str, images: int) -> None:
    """Photographs of noise on coarse shapes, 640x480, about 100 kB each, with a sentence each."""
    folder = root / "data" / stage / "noise"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    with open(folder / "noise.jsonl", "w") as file:
        for number in range(images):
            shapes = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).resize((640, 480))
            levels = np.asarray(shapes) + rng.integers(-12, 12, (480, 640, 3))
            Image.fromarray(levels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.jpg", quality=90)
            turns = [
                {"from": "human", "value": "<image>\nDescribe the image."},
                {"from": "gpt", "value": "It has the colours " + " ".join(map(str, rng.integers(0, 99, 12)))},
            ]
            file.write(json.dumps({"id": str(number), "image": f"{number}.jpg", "conversations": turns}) + "\n")
    settings = settings_of(root, stage, "small", "none")
    tokenize.run(settings)
    merge_shards.run(settings)


def settings_of(root: Path, stage: str, tower: str, run: str, *, keep: bool = False) -> Settings:
    vision = TOWERS[tower]
    return Settings.model_validate(
        {
            "workspace": root,
            "model": {
                "image_size": vision["image_size"],
                "feature_layer": -1,
                "tokenizer": str(presets_folder() / "tiny/tokenizer"),
                "vision_config": vision,
                "text_config": TEXT,
            },
            "merging": {"kept_ratio": KEPT_RATIO},
            "tokenize": {"max_length": 1024},
            "train": {
                "stage": stage,
                **LEARNS[stage],
                "epochs": EPOCHS,
                "global_batch_packs": 1,
                "pack_tokens": 512,
                "pack_frames": 64,
                "run_dir": f"runs/{run}",
                "cache_features": keep,
                "trackers": [],
                "samples_every": 0,
            },
            "data": {"workers": 0},  # all CPU seconds are this process's
            "checkpoint": {"every": 10_000},
        }
    )


class Rates(NamedTuple):
    """Samples a CPU second of this process, of which each is one that no other program has."""

    first: float
    """In the first epoch."""
    later: float


def train_measured(settings: Settings) -> tuple[Rates, int]:
    """Train; the rates, and the bytes that were kept. The first step of all is left out: it warms up."""
    seconds: dict[int, float] = {}
    real = Trainer._step

    def measured(self: Trainer, before: TrainState, steps: Any) -> Any:
        began = time.process_time()
        done = real(self, before, steps)
        seconds[done.state.step] = time.process_time() - began
        return done

    Trainer._step = measured
    try:
        result: Any = train.run(settings)
    finally:
        Trainer._step = real
    lines = [json.loads(line) for line in Path(result.run_dir, "metrics.jsonl").read_text().splitlines()][1:]
    parts = [[line for line in lines if (line["epoch"] <= 1) == is_first] for is_first in (True, False)]
    rates = [sum(line["samples"] for line in part) / sum(seconds[line["step"]] for line in part) for part in parts]
    return Rates(*rates), result.features_kept_bytes or 0


def floor(root: Path, stage: str, tower: str) -> Rates:
    """Where all batches are in memory before the first step: nothing is read, and no tower runs."""
    real = TrainingData.batches
    TrainingData.batches = lambda self, *args, **kwargs: iter([*real(self, *args, **kwargs)])
    try:
        return train_measured(settings_of(root, stage, tower, f"floor-{tower}", keep=True))[0]
    finally:
        TrainingData.batches = real


def measured(root: Path, stage: str, tower: str, images: int) -> dict[str, float]:
    """Not kept, kept, and the floor."""
    plain, _ = train_measured(settings_of(root, stage, tower, f"plain-{tower}"))
    cached, kept = train_measured(settings_of(root, stage, tower, f"kept-{tower}", keep=True))
    least = floor(root, stage, tower)
    print(
        f"{stage:<10} {tower:<5} {plain.later:5.1f} samples a CPU second uncached; cached {cached.first:5.1f} in the"
        f" first epoch, {cached.later:5.1f} later: {plain.later / cached.later:.2f} of the CPU seconds (wanted 0.5);"
        f" floor {least.later:5.1f}, {cached.later / least.later:.2f} of it (wanted 0.85);"
        f" {kept / images / 1e3:.1f} KB read a sample"
    )
    shutil.rmtree(root / "runs")
    return {"plain": plain.later, **cached._asdict(), "floor": least.later, "kept_bytes": kept / images}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", nargs="?", type=int, default=96)
    parser.add_argument("towers", nargs="*", metavar="small|real")
    parser.add_argument("--threads", type=int, default=2)
    figures.add_options(parser)
    chosen = parser.parse_args()
    images, rows = chosen.images, {}
    if unknown := set(chosen.towers) - set(TOWERS):
        parser.error(f"no such tower: {', '.join(sorted(unknown))}")
    torch.set_num_threads(chosen.threads)
    for stage in LEARNS:
        with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
            root = Path(folder)
            make_workspace(root, stage, images)
            rows[stage] = {tower: measured(root, stage, tower, images) for tower in chosen.towers or TOWERS}
    figures.keep(chosen, "features", {"images": images, "rows": rows})


if __name__ == "__main__":
    main()
