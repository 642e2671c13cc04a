"""Peak memory of commands as their records become twenty times as many: tokenize, train and caption, a tiny model.

Each command runs as a user starts it, on so many records and on twenty times as many; a record is a JPEG of 64 x 64
with an answer of 20 to 800 tokens. Training takes the same number of steps of both: what could grow is what is kept of
the records. Memory is of all processes of a command together, what they share counted once: what they allocated
(anonymous), and all of it (PSS) with pages of mapped files, libraries and stores. Those the system takes back when it
wants room, and they are divided among all processes of the machine that map them. Asked for: the same memory.

Of fewer records than a shard's buffer holds (10,000 rows) `tokenize` takes less, and twenty times as many take more.

    python tests/benchmarks/bench_growth.py [--records 20000] [--steps 20] [--media 500] [--write docs/peers.json]
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from peers import figures
from peers.measure import measured
from peers.records import QUESTION, write_records
from PIL import Image

TIMES = 20
EVERY_S = 0.1
PRESETS = Path(__file__).parents[2] / "presets"
PICTURES = 64
"""Different ones; the files of more records are links to them."""


def make_media(root: Path, number: int) -> Path:
    """A folder of so many files."""
    drawn, folder = root / "drawn", root / f"media-{number}"
    random = np.random.default_rng(0)
    if not drawn.exists():
        drawn.mkdir()
        for index in range(PICTURES):
            Image.fromarray(random.integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(drawn / f"{index}.jpg")
    if folder.exists():
        return folder
    folder.mkdir()
    for index in range(number):
        os.link(drawn / f"{index % PICTURES}.jpg", folder / f"{index:04d}.jpg")
    return folder


def commands(root: Path, chosen: argparse.Namespace, times: int) -> dict[str, list[str]]:
    """In the order in which they need each other; what lies between two of them is made by the first that runs."""
    aurora, common = [sys.executable, "-m", "aurora_cli"], ["--workspace", str(root), "--config", f"{root}/tiny.yaml"]
    records = write_records(root, f"records-{times}", chosen.records * times)
    media = make_media(root, chosen.records * times)
    few = make_media(root, chosen.media * times)
    listed, captions = root / f"media-{times}.csv", root / f"captions-{times}.jsonl"
    listed.write_text("\n".join(["media", *sorted(f"{few.name}/{file.name}" for file in few.iterdir())]))
    tokens, run_dir = root / f"tokens-{times}", root / f"run-{times}"
    where = ["--media-root", str(media)]
    steps = ["--set", f"train.max_steps={chosen.steps}"]
    asked = ["--model", str(run_dir), "--prompt", QUESTION, "--max-new-tokens", "4"]
    words = {
        "tokenize": ["tokenize", str(records), "--output", str(tokens), *where],
        "merge-shards": ["merge-shards", str(tokens)],
        "train": ["train", "--data", f"{tokens}/merged", *where, "--run-dir", str(run_dir), *steps],
        "caption --manifest": ["caption", "--manifest", str(listed), "--output", str(captions), *asked],
        "caption FOLDER": ["caption", str(few), *asked],
    }
    return {name: [*aurora, *given, *common, "--quiet"] for name, given in words.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000, help="that are tokenized, and trained on")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--media", type=int, default=500, help="that are captioned")
    parser.add_argument("--threads", type=int, default=2)
    figures.add_options(parser)
    chosen = parser.parse_args()
    rows: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "tokenizer").symlink_to(PRESETS / "tiny" / "tokenizer")
        (root / "tiny.yaml").write_text(yaml.safe_dump(settings()))
        for times in (1, TIMES):
            for name, command in commands(root, chosen, times).items():
                cost = measured(command, chosen.threads, EVERY_S)
                count = (chosen.media if "caption" in name else chosen.records) * times
                row = {"records": count, "anonymous_mb": round(cost.anonymous_mb, 1), "peak_mb": round(cost.peak_mb, 1)}
                rows.setdefault(name, []).append(row)
                print(f"{name}: {row}, {cost.cpu_s:.0f} CPU s", flush=True)
    for name, (few, many) in rows.items():
        print(f"{name}: {many['anonymous_mb'] / few['anonymous_mb']:.3f} of the memory with {TIMES} times the records")
    figures.keep(chosen, "growth", {"times": TIMES, "steps": chosen.steps, "rows": rows})


def settings() -> dict[str, Any]:
    """The tiny preset with a language model that long answers fit into."""
    part = {"lr": 1e-3}
    return {
        "preset": "tiny",
        "tokenize": {"max_length": 2048, "workers": 1},  # of few shards it would use fewer processes than of many
        "model": {"text_config": {"max_position_embeddings": 2048}},
        "train": {
            "stage": "language", "after": None, "projector": part, "vision_tower": part, "language_model": part,
            "pack_tokens": 2048, "global_batch_packs": 1, "micro_batch_packs": 1, "samples_every": 0, "trackers": [],
        },
        "data": {"validation_share": 0.0},
    }  # fmt: skip


if __name__ == "__main__":
    main()
