"""`aurora train --plan` against the run that follows: estimated and measured peak memory, in fresh processes.

Two shapes: `tiny` (the tests' network, where Python is nearly all) and `small` (45 M weights, where states and
activations are). Each is trained whole, checkpointed, by adapters, and in few bits (where bitsandbytes is), with
`train.tight_memory`: the heap's holes, which hang on the C library, are no part of an estimate. Asked for: within 15 %.

    python tests/benchmarks/bench_fit.py [shape ...]
"""

import json
import os
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from tests.distributed.tiny_workspace import MODEL, make, settings

SMALL: dict[str, Any] = {
    "image_size": 112,
    "tokenizer": MODEL["tokenizer"],
    "vision_config": {
        "model_type": "clip_vision_model", "image_size": 112, "patch_size": 14, "hidden_size": 384,
        "intermediate_size": 1536, "num_hidden_layers": 7, "num_attention_heads": 6,
    },
    "text_config": {
        "model_type": "llama", "vocab_size": 8000, "hidden_size": 512, "intermediate_size": 1376,
        "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 4, "bos_token_id": 1,
        "eos_token_id": 2, "pad_token_id": 3, "max_position_embeddings": 2048,
    },
}  # fmt: skip
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {"model": MODEL, "train": {"max_steps": 6}},
    "small": {
        "model": SMALL,
        "train": {"max_steps": 4, "pack_tokens": 768, "pack_frames": 64, "micro_batch_packs": 2},
    },
}
ADAPTERS = {"lora": {"language_model": {"rank": 8}}, "vision_tower": None}
WAYS: dict[str, dict[str, Any]] = {
    "full": {},
    "checkpointed": {"gradient_checkpointing": True},
    "LoRA, frozen tower": ADAPTERS,
    "LoRA, checkpointed": {**ADAPTERS, "gradient_checkpointing": True},
    "full, adamw_8bit": {"optimizer": "adamw_8bit"},
    "LoRA on nf4": {**ADAPTERS, "quantize_base": "nf4"},
    "LoRA on int8": {**ADAPTERS, "quantize_base": "int8"},
}


def run(root: Path, shape: str, way: str, *more: str) -> str:
    tree = settings(root, "language", after=None).model_dump(mode="json", include={"merging", "train", "data"})
    tree["model"] = SHAPES[shape]["model"]
    tree["train"] |= SHAPES[shape]["train"] | {"tight_memory": True, "trackers": [], "samples_every": 0} | WAYS[way]
    (root / "aurora.yaml").write_text(yaml.safe_dump(tree))
    folder = f"runs/{shape}-{way.replace(' ', '-')}"
    command = [sys.executable, "-m", "aurora_cli", "train", "--workspace", str(root), "--run-dir", folder, "--json"]
    done = subprocess.run([*command, *more], capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "2"})
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout if more else (root / folder / "metrics.jsonl").read_text().splitlines()[-1]


def main() -> None:
    shapes = sys.argv[1:] or list(SHAPES)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make(root, images=96, videos=16, texts=16)
        print(f"{'shape':<8}{'way':<28}{'estimated MB':>14}{'measured MB':>14}{'ratio':>8}{'beside Python':>15}")
        for shape in shapes:
            for way in WAYS:
                if {"optimizer", "quantize_base"} & WAYS[way].keys() and find_spec("bitsandbytes") is None:
                    print(f"{shape:<8}{way:<28}bitsandbytes is not installed", flush=True)
                    continue
                plan = json.loads(run(root, shape, way, "--plan"))
                measured = json.loads(run(root, shape, way))["max_mem_mb"]
                base = plan["base_memory"] / 2**20
                own = (plan["memory_mb"] - base) / (measured - base)
                print(
                    f"{shape:<8}{way:<28}{plan['memory_mb']:>14,.0f}{measured:>14,.0f}"
                    f"{plan['memory_mb'] / measured:>8.2f}{own:>15.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
