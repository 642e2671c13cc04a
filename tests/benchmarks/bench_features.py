"""Samples a second of training with a frozen tower: its features kept, not kept, and the floor, which has no images.

A projector and adapters on a language model, over random images as JPEG files, in `aurora train`'s own loop: the steps
of the first epoch, then of the second. Uncached, every epoch decodes and runs the tower; cached, the second reads. The
floor are the same steps with all batches in memory: the language model alone. Asked for: cached at least 0.85 of the
floor's rate.

    python tests/benchmarks/bench_features.py [images, 96] [small|real, both]
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # threads that spin would count as work

import json
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from aurora_cli.config.presets import presets_folder
from aurora_cli.config.settings import Settings
from aurora_cli.data.batches.training_data import TrainingData
from aurora_cli.pipeline import merge_shards
from aurora_cli.pipeline.tokenize import command as tokenize
from aurora_cli.pipeline.train import command as train

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
KEPT_RATIO = 0.25
EPOCHS = 3


def make_workspace(root: Path, images: int) -> None:
    """Photographs of noise on coarse shapes, 640x480, about 100 kB each, with a sentence each."""
    folder = root / "data/language/noise"
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
    settings = settings_of(root, "small", "none")
    tokenize.run(settings)
    merge_shards.run(settings)


def settings_of(root: Path, tower: str, run: str, *, keep: bool = False) -> Settings:
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
                "stage": "language",
                "projector": {"lr": 1e-4},
                "language_model": {"lr": 1e-4},
                "lora": {"language_model": {"rank": 8}},
                "epochs": EPOCHS,
                "global_batch_packs": 1,
                "pack_tokens": 512,
                "pack_frames": 64,
                "run_dir": f"runs/{run}",
                "cache_features": keep,
                "trackers": [],
                "samples_every": 0,
            },
            "data": {"workers": 1},
            "checkpoint": {"every": 10_000},
        }
    )


def rates(root: Path, run: str) -> list[float]:
    """Samples a second of each epoch."""
    lines = [json.loads(line) for line in (root / f"runs/{run}/metrics.jsonl").read_text().splitlines()]
    per_epoch: dict[int, list[dict[str, Any]]] = {}
    for line in lines:
        per_epoch.setdefault(int(np.ceil(line["epoch"])), []).append(line)
    return [
        sum(line["samples"] for line in epoch[1:]) / sum(line["step_s"] for line in epoch[1:])
        for epoch in per_epoch.values()
    ]


def floor(root: Path, tower: str) -> float:
    """Samples a second of the last epoch where all batches are in memory before the first step: nothing is read, and no
    tower runs."""
    real = TrainingData.batches
    TrainingData.batches = lambda self, *args, **kwargs: iter([*real(self, *args, **kwargs)])
    try:
        train.run(settings_of(root, tower, f"floor-{tower}", keep=True))
    finally:
        TrainingData.batches = real
    return rates(root, f"floor-{tower}")[-1]


def main() -> None:
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 96
    torch.set_num_threads(2)
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as folder:
        root = Path(folder)
        make_workspace(root, images)
        for tower in sys.argv[2:] or TOWERS:
            train.run(settings_of(root, tower, f"plain-{tower}"))
            kept = train.run(settings_of(root, tower, f"kept-{tower}", keep=True))
            plain, cached = rates(root, f"plain-{tower}"), rates(root, f"kept-{tower}")
            lowest = floor(root, tower)
            size = (kept.features_kept_bytes or 0) / images
            print(
                f"{tower:<6} uncached {plain[1]:6.1f} samples/s; cached: first epoch {cached[0]:6.1f}, second"
                f" {cached[1]:6.1f} ({cached[1] / plain[1]:.2f} times); floor {lowest:6.1f}"
                f" (cached / floor {cached[1] / lowest:.2f}); {size / 1e3:.1f} KB read a sample"
            )
            shutil.rmtree(root / "runs")


if __name__ == "__main__":
    main()
