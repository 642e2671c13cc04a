"""`aurora serve` on the loopback, beside itself with nothing merged and beside `aurora caption`, all in one run.

The model: 6 layers of a tower like CLIP ViT-B/16 behind 12 of a language model like SmolLM2-135M, random weights.
The media: drawn videos of 8 frames, each of 576 tokens at ratio 1 (384 pixels; of 196 at 224, where text, the tower's
first layers and steps of decoding, which merging does not shorten, are more of the whole). Asked for: 8 concurrent
videos at kept ratio 0.1 give at least 4 times the captions a second of ratio 1.0, and at least 0.9 of `caption_batch`
of 8 on the same videos; and p95 of the seconds to the end, and to the first token, at 2 requests a second that come at
even intervals.

    python tests/benchmarks/bench_serve.py [rounds, 1] [threads, 2] [new tokens, 16] [pixels, 384]
"""

import http.client
import json
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[2]))

from aurora_cli.captioning.captioner import Captioner
from aurora_cli.captioning.inputs import caption_inputs
from aurora_cli.captioning.options import CaptionOptions
from aurora_cli.config.merging import TokenMerging
from aurora_cli.demo.dataset import encode_video
from aurora_cli.serving.app import Service, ServiceLimits
from aurora_cli.serving.server import running
from tests.benchmarks.bench_caption import SMOL, VIDEO_B, build
from tests.serving import CHAT, events_of, video_part

VIDEOS, WARM_UP, RATE, PACED = 8, 1, 2.0, 24
QUESTION = "Describe the video."


class Took(NamedTuple):
    """Of one request, in seconds."""

    first: float
    whole: float


def captioner_of(folder: Path, new_tokens: int, pixels: int) -> Captioner:
    """By hand: what `load_captioner` reads from a folder stands here in memory."""
    from aurora_cli.captioning.loading import load_captioner
    from aurora_cli.models.layers.few_rows import read_few_rows_fast
    from tests.captioners import make_runs

    make_runs(folder)
    small = load_captioner(folder / "runs" / "language")
    settings = small.image_settings.model_copy(update={"image_size": pixels})
    options: CaptionOptions = small.options._replace(merging=TokenMerging(kept_ratio=0.1))
    options = options._replace(decoding=options.decoding._replace(max_new_tokens=new_tokens))
    model = build(
        VIDEO_B | {"num_hidden_layers": 6, "image_size": pixels}, SMOL | {"vocab_size": 671, "num_hidden_layers": 12}
    )
    read_few_rows_fast(model.model.language_model)
    captioner = Captioner(model, small.tokenizer, settings, options)
    never_ends = [token for token in captioner.prompter.end_ids if token not in captioner.never]
    captioner.never.extend(never_ends)  # random weights may stop at once: each caption has all of its tokens
    return captioner


def draw(seed: int) -> bytes:
    colours = np.random.default_rng(seed).integers(0, 255, (16, 6, 8, 3), dtype=np.uint8)
    return encode_video([Image.fromarray(frame).resize((320, 240)) for frame in colours])


def ask(port: int, video: bytes, ratio: float) -> Took:
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": [video_part(video), {"type": "text", "text": QUESTION}]}],
        "token_kept_ratio": ratio,
        "stream": True,
    }
    began = time.perf_counter()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("POST", CHAT, json.dumps(body))
    answer = connection.getresponse()
    lines, first = [], 0.0
    for line in answer:
        lines.append(line)
        first = first or (time.perf_counter() - began if b'"content": "' in line and b'""' not in line else 0.0)
    connection.close()
    events_of(b"".join(lines))
    return Took(first, time.perf_counter() - began)


def together(port: int, videos: list[bytes], ratio: float) -> float:
    """Seconds until all are answered, asked at once."""
    began = time.perf_counter()
    with ThreadPoolExecutor(len(videos)) as pool:
        list(pool.map(lambda video: ask(port, video, ratio), videos))
    return time.perf_counter() - began


def paced(port: int, videos: list[bytes], ratio: float) -> list[Took]:
    """Each at its own time, whether those before have ended or not."""
    with ThreadPoolExecutor(PACED) as pool:
        asked = []
        begin = time.perf_counter()
        for number in range(PACED):
            time.sleep(max(0.0, begin + number / RATE - time.perf_counter()))
            asked.append(pool.submit(ask, port, videos[number % len(videos)], ratio))
        return [each.result() for each in asked]


def by_command(captioner: Captioner, files: list[Path], ratio: float) -> float:
    """What `aurora caption --batch-size 8` does with a loaded model."""
    options = captioner.options.changed({"token_kept_ratio": ratio, "clip_prompt": QUESTION})
    began = time.perf_counter()
    batch = captioner.caption_batch(caption_inputs(files), options)
    if len(batch.captions) != len(files):
        raise RuntimeError(batch.uncaptioned)
    return time.perf_counter() - began


def main() -> None:
    defaults = (1, 2, 16, 384)
    rounds, threads, new_tokens, pixels = [*map(int, sys.argv[1:]), *defaults[len(sys.argv) - 1 :]]
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        captioner = captioner_of(folder, new_tokens, pixels)
        videos = [draw(seed) for seed in range(VIDEOS)]
        files = [folder / f"{number}.mp4" for number in range(VIDEOS)]
        for file, video in zip(files, videos, strict=True):
            file.write_bytes(video)
        service = Service("bench", captioner, ServiceLimits())
        with running(service) as url:
            port = int(url.split(":")[2].strip("/"))
            works: dict[str, Callable[[], float]] = {
                "serve at 0.1": lambda: together(port, videos, 0.1),
                "caption at 0.1": lambda: by_command(captioner, files, 0.1),
                "serve at 1.0": lambda: together(port, videos, 1.0),
            }
            taken: dict[str, list[float]] = {name: [] for name in works}
            for _ in range(WARM_UP + rounds):
                for name, work in works.items():
                    taken[name].append(work())
            least = {name: min(seconds[WARM_UP:]) for name, seconds in taken.items()}
            rate = {name: VIDEOS / seconds for name, seconds in least.items()}
            for name, value in rate.items():
                print(f"{name}: {value:.2f} captions/s, {VIDEOS} videos of 8 frames in {least[name]:.2f} s")
            merged, whole = rate["serve at 0.1"], rate["serve at 1.0"]
            print(f"serve at 0.1 over 1.0: {merged / whole:.2f} (asked for 4)")
            print(f"serve over caption, both at 0.1: {merged / rate['caption at 0.1']:.2f} (asked for 0.9)", flush=True)
            took = paced(port, videos, 0.1)
            p95 = [float(np.percentile([getattr(each, field) for each in took], 95)) for field in Took._fields]
            print(f"at {RATE:g} requests/s, {PACED} of them: p95 {p95[1]:.2f} s, until the first token {p95[0]:.2f} s")
        service.close()


if __name__ == "__main__":
    main()
