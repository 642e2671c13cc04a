"""Images a second from JPEG to training tensor, and the plan of 20 M samples. Floors: decoding alone; a full pack.

Asked for: 242 images a second and process (the original's 121, doubled); the plan in 10 s and 1.5 GB, 97 % full.
"""

import io
import resource
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from aurora_cli.config.settings import ModelSettings
from aurora_cli.data.batches.packing import plan_packs
from aurora_cli.data.media.reader import image_pixels
from aurora_cli.data.media.transforms import normalise, padding_colour

RUNS = 60
MODEL = ModelSettings()
SAMPLES = int(float(sys.argv[1])) if len(sys.argv) > 1 else 20_000_000
PACK_TOKENS, PACK_FRAMES, FRAME_TOKENS = 4096, 256, 73


def photograph() -> bytes:
    """640x480 with coarse shapes and fine noise: about 100 kB, as photographs are."""
    rng = np.random.default_rng(0)
    shapes = Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).resize((640, 480))
    levels = np.asarray(shapes) + rng.integers(-12, 12, (480, 640, 3))
    file = io.BytesIO()
    Image.fromarray(levels.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
    return file.getvalue()


def decoded(jpeg: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(jpeg))
    image.load()
    return image


def original(jpeg: bytes) -> torch.Tensor:
    """The original's steps: pad, then transformers' image processor."""
    image = decoded(jpeg).convert("RGB")
    side = max(image.size)
    canvas = Image.new("RGB", (side, side), padding_colour(MODEL.image_mean))
    canvas.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return PROCESSOR(canvas, return_tensors="pt")["pixel_values"]


def ours(jpeg: bytes) -> torch.Tensor:
    pixels = image_pixels(jpeg, "image", MODEL.image_size, padding_colour(MODEL.image_mean))
    return normalise(torch.from_numpy(pixels[None]), MODEL.image_mean, MODEL.image_std)


def per_second(work: Callable[[bytes], object], jpeg: bytes) -> float:
    times = []
    for _ in range(RUNS):
        began = time.perf_counter()
        work(jpeg)
        times.append(time.perf_counter() - began)
    return 1 / statistics.median(times)


def images() -> None:
    jpeg = photograph()
    floor, before, now = (per_second(work, jpeg) for work in (decoded, original, ours))
    print(f"decoding alone            {floor:6.0f} images/s   (floor)")
    print(f"the original's steps      {before:6.0f} images/s")
    print(f"ours                      {now:6.0f} images/s   ratio {now / before:.2f}, to the floor {now / floor:.2f}")


def packing() -> None:
    rng = np.random.default_rng(0)
    frames = rng.choice(np.array([0, 1, 8], np.int32), SAMPLES)
    lengths = np.exp(rng.uniform(np.log(30), np.log(2000), SAMPLES).astype(np.float32)).astype(np.int32)
    lengths += FRAME_TOKENS * frames
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    began = time.perf_counter()
    packs = plan_packs(
        lengths, frames, pack_tokens=PACK_TOKENS, pack_frames=PACK_FRAMES, batching="packed", seed=0, epoch=0
    )
    took_s = time.perf_counter() - began
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    fill = float(lengths.sum(dtype=np.int64)) / (packs.num_packs * PACK_TOKENS)
    print(
        f"plan of {SAMPLES:,} samples: {took_s:.2f} s, {packs.num_packs:,} packs, {fill:.2%} full,"
        f" peak {peak_mb:,.0f} MB ({before_mb:,.0f} MB before)"
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    from transformers import CLIPImageProcessorPil

    PROCESSOR = CLIPImageProcessorPil(
        size={"shortest_edge": MODEL.image_size},
        crop_size={"height": MODEL.image_size, "width": MODEL.image_size},
        image_mean=MODEL.image_mean,
        image_std=MODEL.image_std,
    )
    images()
    packing()
