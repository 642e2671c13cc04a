"""Prefill in vLLM on a CPU with the plugin, at kept ratio 0.1 and at 1.0 in the same engine.

A video of 8 frames of 224 px through a tower shaped like CLIP ViT-B/16 and a language model shaped like SmolLM2-135M,
random weights. Prefill is a request of one token: reading the video, tower, projector, and the language model over the
prompt. Other pixels each time, so that nothing is found in a cache. CPU seconds of the whole process on one thread (a
second one spins while it waits, which counts as well), the least of `runs` that take turns; beside them the ratio of
FLOPs, counted from the plan of tokens. Asked for: at 0.1 at most 1.25 times of what the FLOPs say beside 1.0.

In the environment that `make serve-check` makes:

    build/servers/vllm/bin/python tests/benchmarks/bench_vllm.py [runs, 5]
"""

import json
import os
import sys
import tempfile
import time
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.benchmarks.bench_caption import FRAMES, MERGED, SMOL, VIDEO_B, WHOLE, build, flops

TOKENIZER = Path(__file__).parents[2] / "presets" / "tiny" / "tokenizer"
RATIOS = (WHOLE, MERGED)


def export(folder: Path) -> Path:
    """The captioner of `bench_caption`, as far as vLLM reads it."""
    from aurora_cli.export.tokenizer import export_tokenizer, write_chat_template, write_tokenizer

    model = build(VIDEO_B, SMOL)
    tokenizer = export_tokenizer(TOKENIZER)
    model.config.image_token_index = tokenizer.image_id
    model.config.merging = MERGED.model_dump()
    model.config.architectures = ["LlavaForConditionalGeneration"]
    model.save_pretrained(folder)
    write_tokenizer(tokenizer, folder)
    write_chat_template("vicuna", tokenizer, folder)
    pixels = {"image_processor_type": "LlavaImageProcessor", "image_mean": [0.5] * 3, "image_std": [0.3] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(pixels))
    (folder / "processor_config.json").write_text(json.dumps({"processor_class": "LlavaProcessor", "patch_size": 16}))
    return folder


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    os.environ |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1"}
    try:
        from vllm import LLM, SamplingParams
    except ImportError:
        print("vLLM is not installed here: make serve-check")
        return
    with tempfile.TemporaryDirectory() as folder:
        engine = LLM(str(export(Path(folder))), dtype="float32", enforce_eager=True, max_model_len=4096, seed=0)
    model = build(VIDEO_B, SMOL)
    draw = np.random.default_rng(0)
    seconds: dict[float, list[float]] = {merging.kept_ratio: [] for merging in RATIOS}
    one = SamplingParams(temperature=0, max_tokens=1)
    for _ in range(runs + 1):
        for ratio, taken in seconds.items():
            frames = draw.integers(0, 256, (FRAMES, 224, 224, 3), np.uint8)
            request = {
                "prompt": "USER: <image>\nDescribe the video in detail. ASSISTANT:",
                "multi_modal_data": {"video": frames},
                "mm_processor_kwargs": {"token_kept_ratio": ratio},
            }
            began = time.process_time()
            engine.generate([request], one, use_tqdm=False)
            taken.append(time.process_time() - began)
    least = {ratio: min(taken[1:]) for ratio, taken in seconds.items()}  # the first run makes kernels ready
    counted = {merging.kept_ratio: flops(model, merging).total for merging in RATIOS}
    share, expected = least[0.1] / least[1.0], counted[0.1] / counted[1.0]
    for ratio, taken in least.items():
        print(f"kept ratio {ratio}: {taken:.2f} CPU s, {counted[ratio] / 1e9:,.0f} GFLOP")
    print(
        f"0.1 beside 1.0: {share:.3f} of the CPU time, {expected:.3f} of the FLOPs: "
        f"{share / expected:.2f} times of what they say"
    )
    print(f"{torch.get_num_threads()} thread")


if __name__ == "__main__":
    main()
