"""Frames a second of the graph of `aurora convert --format onnx` in onnxruntime, beside torch, on the CPU in one run.

A CLIP of 12 layers of 384 at 378 px with a projector to 512, random weights, at kept ratios 1.0 and 0.1. Both take
turns, with the same number of threads; a time is the least of the runs, and CPU seconds are counted too, which other
programs on the machine disturb less. Then both merge photographs (scikit-image's): in how many frames other tokens
merged, because two pairs were alike but for rounding, and how far apart the tokens of all other frames are.

    python tests/benchmarks/bench_onnx.py [runs, 5] [threads, 2] [frames, 4]
"""

import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnxruntime
import torch
from PIL import Image
from skimage import data

from aurora_cli.checkpoints.checkpoint import OpenedCheckpoint
from aurora_cli.checkpoints.loading import build_frame_tokens
from aurora_cli.checkpoints.opening import open_checkpoint
from aurora_cli.config.merging import TokenMerging
from aurora_cli.config.settings import ConvertSettings, ModelSettings, Settings
from aurora_cli.data.media.transforms import normalise, padding_colour, square_image
from aurora_cli.export.layouts.onnx import GRAPH_FILE, INPUT, OUTPUT
from aurora_cli.pipeline.convert.command import run
from aurora_cli.pipeline.train.build_model import write_initial

RATIOS = (1.0, 0.1)
SIDE = 378
PHOTOGRAPHS = ("astronaut", "coffee", "chelsea", "rocket", "immunohistochemistry", "retina")
FLIPPED = 1e-3
"""A token that differs by more is made of other patches: all others differ by a hundredth of it at most."""
MODEL = ModelSettings(
    image_size=SIDE,
    vision_config={
        "model_type": "clip_vision_model", "image_size": SIDE, "patch_size": 14, "hidden_size": 384,
        "intermediate_size": 1536, "num_hidden_layers": 12, "num_attention_heads": 6,
    },
    text_config={
        "model_type": "llama", "vocab_size": 64, "hidden_size": 512, "intermediate_size": 512,
        "num_hidden_layers": 1, "num_attention_heads": 8, "num_key_value_heads": 8,
    },
)  # fmt: skip


class Cost(NamedTuple):
    wall_s: float
    cpu_s: float


def timed(call: Callable[[], Any]) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    call()
    return Cost(time.perf_counter() - wall, time.process_time() - cpu)


def photographs() -> torch.Tensor:
    """(F, 3, H, W): each whole, and its four quarters."""
    frames = []
    for name in PHOTOGRAPHS:
        image = Image.fromarray(getattr(data, name)()[..., :3])
        width, height = image.size
        halves = [(0, 0), (width // 2, 0), (0, height // 2), (width // 2, height // 2)]
        frames += [image, *(image.crop((x, y, x + width // 2, y + height // 2)) for x, y in halves)]
    squares = [square_image(frame, SIDE, padding_colour(MODEL.image_mean)) for frame in frames]
    return normalise(torch.from_numpy(np.stack(squares)), MODEL.image_mean, MODEL.image_std)


def session_of(folder: Path, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(folder / GRAPH_FILE, options, providers=["CPUExecutionProvider"])


def source_at(checkpoint: OpenedCheckpoint, ratio: float) -> Any:
    from dataclasses import replace

    return build_frame_tokens(replace(checkpoint, merging=TokenMerging(kept_ratio=ratio)))


@torch.no_grad()
def main(runs: int, threads: int, frames: int) -> None:
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        write_initial(root / "initial", Settings(workspace=root, model=MODEL, merging=TokenMerging()))
        checkpoint = open_checkpoint(root / "initial")
        photos = photographs()
        pixels = photos[:frames].contiguous()
        for ratio in RATIOS:
            convert = ConvertSettings(
                checkpoint=str(root / "initial"), format="onnx", token_kept_ratio=ratio, verify=False
            )
            done = run(Settings(workspace=root, model=MODEL, convert=convert))
            session, network = session_of(Path(done.output), threads), source_at(checkpoint, ratio)
            ways: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
                "torch": network,
                "onnxruntime": lambda each, session=session: torch.from_numpy(
                    session.run([OUTPUT], {INPUT: each.numpy()})[0]
                ),
            }
            best: dict[str, Cost] = {}
            for _ in range(runs + 1):  # the first warms up
                for name, way in ways.items():
                    cost = timed(lambda way=way: way(pixels))
                    best[name] = Cost(*map(min, zip(cost, best.get(name, cost), strict=True)))
            for name, cost in best.items():
                print(
                    f"ratio {ratio:g}  {name:<12}{frames / cost.wall_s:7.2f} frames/s  {cost.cpu_s / frames:.3f} CPU s"
                )
            differences = torch.cat(
                [(ways["torch"](each) - ways["onnxruntime"](each)).abs().amax(dim=-1) for each in photos.split(frames)]
            )
            flipped = (differences > FLIPPED).any(dim=1)
            rest = differences[~flipped]
            print(
                f"ratio {ratio:g}  photographs: other tokens merged in {int(flipped.sum())} of {len(photos)} frames"
                + (f"; those of the rest differ by {float(rest.max()):.1e} at most" if len(rest) else "")
            )


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    given = [int(word) for word in sys.argv[1:]]
    main(*(given + [5, 2, 4][len(given) :]))
