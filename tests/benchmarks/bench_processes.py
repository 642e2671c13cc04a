"""Captioning where decoding is what it costs: one process beside several, each with a share of the media.

Asked for: with 2 processes on 2 cores at most 0.6 of one's wall time.

    python tests/benchmarks/bench_processes.py [--media 2000] [--processes 2] [--rounds 1]

Media are noisy JPEGs of 12 megapixels, which a tiny model looks at with 56 x 56 pixels. What decoding costs is measured
apart, and printed as a share of what one process takes beside its start. One process decodes in a thread while it
captions, so that on two cores it takes as long as the larger of the two: with a share d of decoding, two processes
cannot be below 0.5 / d of one, and each has the start (imports, weights) beside it.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))
DRAWN = 20
"""Different images; the others are the same files by other names."""


class Took(NamedTuple):
    wall_s: float
    cpu_s: float


def draw(folder: Path, count: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"{number:05d}.jpg"
        if number < DRAWN:
            cells = rng.integers(0, 255, (750, 1000, 3), dtype=np.uint8)
            Image.fromarray(cells).resize((4000, 3000), Image.Resampling.BICUBIC).save(path, quality=90)
        else:
            os.link(folder / f"{number % DRAWN:05d}.jpg", path)


def decoding_s(folder: Path) -> float:
    """CPU seconds of reading an image as the model sees it."""
    from aurora_cli.data.media.reader import image_pixels

    began = time.process_time()
    for number in range(DRAWN):
        image_pixels(folder / f"{number:05d}.jpg", f"{number:05d}.jpg", 56, (0, 0, 0))
    return (time.process_time() - began) / DRAWN


def captioned(workspace: Path, media: str, processes: int, output: str) -> Took:
    command = [sys.executable, "-m", "aurora_cli", "caption", media, "--model", "runs/language", "--device", "cpu"]
    command += ["--max-new-tokens", "4", "--batch-size", "8", "--quiet", "--output", output]
    if processes > 1:
        command += ["--num-processes", str(processes)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    began = time.perf_counter()
    child = subprocess.Popen(command, cwd=workspace, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    took = time.perf_counter() - began
    assert status == 0, f"{command} ended with {status}"
    return Took(took, usage.ru_utime + usage.ru_stime)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--media", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    given = parser.parse_args()
    from tests.captioners import make_runs

    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        make_runs(workspace)
        draw(workspace / "media", given.media)
        draw(workspace / "few", DRAWN)
        size = (workspace / "media" / "00000.jpg").stat().st_size
        decoding = decoding_s(workspace / "media")
        start = captioned(workspace, "few", 1, "start.jsonl")
        cores = len(os.sched_getaffinity(0))
        print(f"{given.media:,} JPEGs of {size / 1e6:.1f} MB, {cores} cores, load {os.getloadavg()[0]:.1f}")
        print(f"start and {DRAWN} media: {start.wall_s:.1f} s, {start.cpu_s:.1f} s of CPU")
        for number in range(given.rounds):
            one = captioned(workspace, "media", 1, f"one-{number}.jsonl")
            many = captioned(workspace, "media", given.processes, f"many-{number}.jsonl")
            share = decoding * (given.media - DRAWN) / (one.cpu_s - start.cpu_s)
            print(f"1 process:   {one.wall_s:6.1f} s, {one.cpu_s:6.1f} s of CPU, {share:.0%} of it decoding")
            print(f"{given.processes} processes: {many.wall_s:6.1f} s, {many.cpu_s:6.1f} s of CPU")
            print(f"ratio of wall times {many.wall_s / one.wall_s:.2f}; of CPU {many.cpu_s / one.cpu_s:.2f}")


if __name__ == "__main__":
    main()
