"""Memory and speed of `aurora convert`, beside `cp` of the same bytes in the same run.

A synthetic model of the size asked for, in shards; each way of converting in a process of its own, not verified.
Memory is anonymous memory (`RssAnon`: not the pages mapped from files) above what is there when everything is
imported; asked for is at most 1.5 times the shard size plus the largest tensor, whatever the model. Speed is a
share of `cp`'s of the export's own bytes; asked for is 0.6. An export is on disk when it has its name (fsync), so both
are timed with what it takes to get there: `cp` with `sync -f` behind it.

    python tests/benchmarks/bench_convert.py [MB, 200] [shard MB, 50] [folder, a temporary one]
"""

import json
import math
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPVisionModel, LlamaForCausalLM  # noqa: F401 (like all that is imported here unused: before the clock starts and the base is taken)

from aurora_cli.checkpoints import (
    blueprint,
    loading,  # noqa: F401
)
from aurora_cli.checkpoints.lazy_tensors import LazyTensor
from aurora_cli.checkpoints.writing import write_weights
from aurora_cli.config.settings import ConvertSettings, ModelSettings, Settings
from aurora_cli.export.layouts import huggingface, official, xtuner  # noqa: F401
from aurora_cli.export.model_card import write_card  # noqa: F401
from aurora_cli.io.atomic import remove, write_json
from aurora_cli.pipeline.convert import write  # noqa: F401
from aurora_cli.pipeline.convert.command import run

WAYS: tuple[dict[str, Any], ...] = (
    {"format": "huggingface"},
    {"format": "huggingface", "dtype": "bfloat16"},
    {"format": "xtuner"},
    {"format": "official", "safe_serialization": False},
)


def make(folder: Path, megabytes: int, shard_bytes: int) -> int:
    """A model in transformers' layout; the bytes of its largest tensor."""
    width = 512 if megabytes < 1000 else 2048
    vision = {
        "model_type": "clip_vision_model", "image_size": 224, "patch_size": 14, "hidden_size": width // 2,
        "intermediate_size": 2 * width, "num_hidden_layers": 4, "num_attention_heads": 8,
    }  # fmt: skip
    text = {
        "model_type": "llama", "vocab_size": 8000, "hidden_size": width, "intermediate_size": 4 * width,
        "num_attention_heads": 8, "num_key_value_heads": 8, "num_hidden_layers": 1,
    }  # fmt: skip
    model = ModelSettings(image_size=224)
    one = sum(math.prod(weight.shape) for weight in _weights(vision, text, model).values()) * 4
    text["num_hidden_layers"] = 2
    layer = sum(math.prod(weight.shape) for weight in _weights(vision, text, model).values()) * 4 - one
    text["num_hidden_layers"] = max(1, 1 + round((megabytes * 1e6 - one) / layer))
    weights = _weights(vision, text, model)
    tensors = {
        name: LazyTensor(folder, name, weight.shape, torch.float32, lambda shape=weight.shape: torch.randn(shape))
        for name, weight in weights.items()
    }
    write_weights(folder, tensors, safe=True, max_shard_bytes=shard_bytes)
    config = blueprint.llava_config(vision, text, model)
    write_json(folder / "config.json", config.to_dict() | {"merging": {"kept_ratio": 0.5}})
    return max(tensor.num_bytes for tensor in tensors.values())


def _weights(vision: dict[str, Any], text: dict[str, Any], model: ModelSettings) -> dict[str, blueprint.Weight]:
    return blueprint.weights_of(blueprint.llava_config(vision, text, model))


def anonymous() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssAnon:")[2].split()[0]) * 1024


def convert(folder: Path, shard_mb: int, way: dict[str, Any]) -> dict[str, float]:
    """In this process: seconds, and anonymous memory at its most above what it was."""
    settings = Settings(
        workspace=folder,
        model=ModelSettings(image_size=224),
        convert=ConvertSettings(
            checkpoint="model", output=Path("out"), verify=False, max_shard_size=f"{shard_mb}MB", **way
        ),
    )
    base = most = anonymous()
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.002):
            most = max(most, anonymous())

    callback = threading.Thread(target=watch)
    callback.start()
    began = time.monotonic()
    result = run(settings)
    seconds = time.monotonic() - began
    done.set()
    callback.join()
    return {"seconds": seconds, "memory": most - base, "bytes": result.bytes}


def main() -> None:
    megabytes, shard_mb = (int(sys.argv[n]) if len(sys.argv) > n else (200, 50)[n - 1] for n in (1, 2))
    with tempfile.TemporaryDirectory(dir=sys.argv[3] if len(sys.argv) > 3 else None) as name:
        folder = Path(name)
        largest = make(folder / "model", megabytes, shard_mb * 10**6)
        size = sum(file.stat().st_size for file in (folder / "model").iterdir())
        bound = 1.5 * shard_mb * 1e6 + largest
        print(f"model {size / 1e6:,.0f} MB in shards of {shard_mb} MB, largest tensor {largest / 1e6:,.0f} MB")
        print(f"memory may be {bound / 1e6:,.0f} MB above the base")
        for way in WAYS:
            remove(folder / "copy")
            remove(folder / "out")
            subprocess.run(["sync"], check=True)
            command = [sys.executable, __file__, "--one", str(folder), str(shard_mb), json.dumps(way)]
            said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
            found = json.loads(said.splitlines()[-1])
            subprocess.run(["sync"], check=True)
            began = time.monotonic()
            subprocess.run(["cp", "-r", folder / "out", folder / "copy"], check=True)
            copied = time.monotonic() - began
            subprocess.run(["sync", "-f", folder / "copy"], check=True)
            synced = time.monotonic() - began
            words = " ".join(str(value) for value in way.values())
            print(
                f"{words:28} {found['bytes'] / 1e6:6,.0f} MB in {found['seconds']:6.2f} s"
                f"   cp {copied:6.2f} s, synced {synced:6.2f} s   share {synced / found['seconds']:5.2f}"
                f"   memory {found['memory'] / 1e6:5,.0f} MB ({found['memory'] / bound:4.2f} of the bound)",
                flush=True,
            )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(convert(Path(sys.argv[2]), int(sys.argv[3]), json.loads(sys.argv[4]))))
    else:
        main()
