"""Records that every tool trains on: an image of 640 x 480 (one in eight has none), an answer of 20 to 800 tokens."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

SHORTEST, LONGEST = 20, 800
QUESTION = "Describe the image in detail."
TEXT_ALONE = 8
"""One record in so many has no image."""


def make_records(tokenizer: Path, number: int, seed: int) -> list[dict[str, Any]]:
    """Lengths at even steps of their logarithm, in any order, so that any number of records is as long on average.

    Words are single tokens, the k-th as likely as 1 / k: that much there is to learn.
    """
    rng = np.random.default_rng(seed)
    vocabulary: dict[str, int] = json.loads((tokenizer / "tokenizer.json").read_text())["model"]["vocab"]
    words = [word[1:] for word in vocabulary if word[0] == "Ġ" and word[1:].isalpha()]
    likely = 1 / np.arange(1, len(words) + 1)
    lengths = np.exp(np.linspace(np.log(SHORTEST), np.log(LONGEST), number)).astype(int)
    records = []
    for index, length in enumerate(rng.permutation(lengths).tolist()):
        answer = " ".join(rng.choice(words, length, p=likely / likely.sum()).tolist())
        has_image = index % TEXT_ALONE != TEXT_ALONE - 1
        question = f"<image>\n{QUESTION}" if has_image else QUESTION
        turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
        image = {"image": f"{index:04d}.jpg"} if has_image else {}
        records.append({"id": str(index), **image, "conversations": turns})
    return records


def write_records(root: Path, name: str, number: int, seed: int = 0) -> Path:
    """LLaVA's JSON."""
    file = root / f"{name}.json"
    file.write_text(json.dumps(make_records(root / "tokenizer", number, seed)))
    return file


def plain_llava(export: Path, target: Path) -> Path:
    """The export without the code that it brings for merging: what transformers itself has, and peers expect."""
    shutil.copytree(export, target, ignore=shutil.ignore_patterns("*.py"))
    for file in target.glob("*.json"):
        stored = json.loads(file.read_text())
        if stored.pop("auto_map", None):
            file.write_text(json.dumps(stored))
    return target
