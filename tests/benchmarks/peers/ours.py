"""aurora on the same records: its commands, and the logits of its packed forward."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import yaml
from bench_caption_peer import TEXT, VISION
from peers.measure import run
from peers.recipe import IGNORED, WARMUP, rate_in_the_middle

PYTHON = sys.executable


def aurora(command: str) -> list[str]:
    return [PYTHON, "-m", "aurora_cli", command]


def prepare(root: Path, records: Path, ratio: float, pack_tokens: int, packs: int) -> list[str]:
    """The command that trains. Its tokens are made here: a peer's tokenizing is part of its run, and no large one."""
    name = f"{records.stem}-{ratio}"
    part = {"lr": rate_in_the_middle(len(json.loads(records.read_text())))}
    model = {"tokenizer": str(root / "tokenizer"), "image_size": 224, "vision_config": VISION, "text_config": TEXT}
    settings = {
        "model": model,
        "merging": {"kept_ratio": ratio},
        "train": {
            "vision_tower": part, "projector": part, "language_model": part, "epochs": 1, "warmup_ratio": WARMUP,
            "pack_tokens": pack_tokens, "global_batch_packs": packs, "micro_batch_packs": 1,
            "gradient_checkpointing": False, "after": None, "samples_every": 0, "trackers": [],
        },
        "checkpoint": {"every": 100_000},
    }  # fmt: skip
    config = root / f"{name}.yaml"
    config.write_text(yaml.safe_dump(settings))
    common = ["--config", str(config), "--workspace", str(root)]
    media = ["--media-root", f"{root}/media"]
    tokens = root / f"tokens-{name}"
    if not tokens.exists():
        run([*aurora("tokenize"), str(records), "--output", str(tokens), *media, *common])
        run([*aurora("merge-shards"), str(tokens), *common])
    run_dir = trained_in(root, records, ratio)
    shutil.rmtree(run_dir, ignore_errors=True)  # of an earlier round: a finished run is not begun again
    data = ["--data", f"{tokens}/merged", *media, "--run-dir", str(run_dir)]
    return [*aurora("train"), "--stage", "language", "--init-from", f"{root}/export/huggingface", *data, *common]


def flops(command: list[str], threads: int) -> int:
    """Of a command's products of matrices and of attention."""
    words = command[command.index("aurora_cli") + 1 :]
    found = run([PYTHON, str(Path(__file__).parent / "flops.py"), *words], threads)
    return json.loads(found.splitlines()[-1])["flops"]


def trained_in(root: Path, records: Path, ratio: float) -> Path:
    return root / f"run-{records.stem}-{ratio}"


def exported(root: Path, records: Path, ratio: float) -> Path:
    """The run's weights as a folder of transformers."""
    folder = root / f"trained-{ratio}"
    shutil.rmtree(folder, ignore_errors=True)
    how = ["--format", "huggingface", "--no-verify", "--workspace", str(root)]
    run([*aurora("convert"), str(trained_in(root, records, ratio)), str(folder), *how])
    return folder


def packed_logits(export: Path, inputs: Path) -> np.ndarray:
    """Of the target tokens of a padded batch, which is one pack here, as in training."""
    import torch

    import aurora_cli
    from aurora_cli.models.packed_rows import PackedRows, target_states

    batch = {name: torch.from_numpy(value) for name, value in np.load(inputs).items()}
    lengths = batch["attention_mask"].sum(1).tolist()
    parts = [[batch[name][row, :length] for name in ("input_ids", "labels")] for row, length in enumerate(lengths)]
    ids, labels = (torch.cat(each)[None] for each in zip(*parts, strict=True))
    places = torch.cat([torch.arange(length) for length in lengths])[None]
    segments = torch.cat([torch.full((length,), number + 1) for number, length in enumerate(lengths)])[None]
    labels = labels.masked_fill(places == 0, IGNORED)
    pixels = batch.get("pixel_values")
    media = None if pixels is None else torch.ones(len(pixels), dtype=torch.int64)
    network = aurora_cli.load_model(export).eval()
    rows = PackedRows(ids, places, segments, labels, pixels, media)
    with torch.inference_mode():
        states = target_states(network, rows, aurora_cli.TokenMerging(kept_ratio=1.0))
        return network.lm_head(states).numpy()
