"""Captioning beside plain transformers' loop on the same export: captions a second, and the first word from the shell.

A CLIP tower of 6 layers of 384 at 224 pixels, a Llama of 8 layers of 384 with 32,000 words, random weights in float32;
64 images, batches of 8; captions of 64 new tokens each (nothing ends one earlier), and captions of uneven length, of 4
to 64 tokens, where the peer's batch waits for its longest. Start-up is left out of captions a second and is all of the
first word. Asked for at ratio 1: 1.5 times the peer's captions a second, 1.6 times where they are uneven, the same ids;
3 times the uneven ones at ratio 0.1; and 0.7 of the peer's time to the first word. Wall clock and CPU seconds are each
the least of rounds that take turns; beside other work CPU seconds say more. The peer's loop runs in the same process,
with the heap and the pages that `aurora caption` takes.

    python tests/benchmarks/bench_caption_peer.py [rounds, 3] [threads, 2] [images, 64] [new tokens, 64]
                                                  [--write docs/peers.json]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from peers import figures
from PIL import Image

from aurora_cli.config.merging import TokenMerging
from aurora_cli.training.processes.heap import keep_freed_memory, use_huge_pages

BATCH = 8
VISION = {
    "model_type": "clip_vision_model", "image_size": 224, "patch_size": 14, "hidden_size": 384,
    "intermediate_size": 1536, "num_hidden_layers": 6, "num_attention_heads": 6,
}  # fmt: skip
TEXT = {
    "model_type": "llama", "vocab_size": 32000, "hidden_size": 384, "intermediate_size": 1024, "num_hidden_layers": 8,
    "num_attention_heads": 6, "num_key_value_heads": 6, "max_position_embeddings": 4096, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
TOKENIZER = Path(__file__).parents[2] / "presets" / "tiny" / "tokenizer"
PROMPT = "USER: <image>\nDescribe the image in detail. ASSISTANT:"
FIRST_WORD = f"""
import sys, torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor
processor = AutoProcessor.from_pretrained(sys.argv[1])
model = AutoModelForImageTextToText.from_pretrained(sys.argv[1]).eval()
inputs = processor(images=Image.open(sys.argv[2]).convert("RGB"), text={PROMPT!r}, return_tensors="pt")
with torch.inference_mode():
    print(processor.decode(model.generate(**inputs, max_new_tokens=1, do_sample=False)[0, -1:]))
"""


def make_export(root: Path, images: int) -> Path:
    """`export/huggingface` in `root`, whose tokenizer has a word for every id, and JPEGs of 640 x 480."""
    from aurora_cli.config.resolve import dump_yaml
    from aurora_cli.config.settings import ConvertSettings, ModelSettings, Settings
    from aurora_cli.pipeline.convert.command import run as convert
    from aurora_cli.pipeline.train.build_model import write_initial

    tokenizer = root / "tokenizer"
    tokenizer.mkdir()
    for file in TOKENIZER.iterdir():
        (tokenizer / file.name).write_bytes(file.read_bytes())
    stored = json.loads((tokenizer / "tokenizer.json").read_text())
    words = stored["model"]["vocab"]
    first = 1 + max(*words.values(), *(each["id"] for each in stored["added_tokens"]))
    words |= {f"word{number}": number for number in range(first, 32000)}
    (tokenizer / "tokenizer.json").write_text(json.dumps(stored))
    model = ModelSettings(tokenizer=str(tokenizer), image_size=224, vision_config=VISION, text_config=TEXT)
    settings = Settings(workspace=root, model=model, merging=TokenMerging(kept_ratio=1.0))
    write_initial(root / "initial", settings)
    (root / "config.yaml").write_text(dump_yaml(settings))
    convert(
        Settings(
            workspace=root,
            model=model,
            convert=ConvertSettings(checkpoint=str(root / "initial"), format="huggingface", verify=False),
        )
    )
    (root / "media").mkdir()
    random = np.random.default_rng(0)
    for number in range(images):
        small = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        small.resize((640, 480), Image.Resampling.BICUBIC).save(root / "media" / f"{number:04d}.jpg", quality=90)
    return root / "export" / "huggingface"


class EndsAt:
    """A logits processor: row i of a batch ends, and does not end earlier, after so many tokens."""

    def __init__(self, lengths: list[int], prompt: int, end: int) -> None:
        self.lengths, self.prompt, self.end = lengths, prompt, end

    def __call__(self, ids: Any, scores: Any) -> Any:
        written = ids.shape[1] - self.prompt
        scores[:, self.end] = -float("inf")
        for row, length in enumerate(self.lengths):
            if written >= length:
                scores[row] = -float("inf")
                scores[row, self.end] = 0.0
        return scores


def peer_loop(model: Any, processor: Any, files: list[Path], lengths: list[int]) -> list[str]:
    end, captions = model.generation_config.eos_token_id, []
    for start in range(0, len(files), BATCH):
        images = [Image.open(file).convert("RGB") for file in files[start : start + BATCH]]
        inputs = processor(images=images, text=[PROMPT] * len(images), return_tensors="pt", padding=True)
        prompt, ends = inputs["input_ids"].shape[1], lengths[start : start + BATCH]
        processors = [EndsAt(ends, prompt, end)]
        ids = model.generate(**inputs, logits_processor=processors, max_new_tokens=max(lengths), do_sample=False)
        captions += processor.batch_decode(ids[:, prompt:], skip_special_tokens=True)
    return [caption.strip() for caption in captions]


def our_captions(captioner: Any, files: list[Path], lengths: list[int], ratio: float) -> list[str]:
    from aurora_cli.captioning import captioner as module

    class Batch(module.DecodingBatch):
        def admit(self, rows: Any) -> None:
            super().admit([row._replace(max_new_tokens=lengths[row.key]) for row in rows])

    plain, module.DecodingBatch = module.DecodingBatch, Batch
    try:
        return [
            each.caption
            for each in captioner.caption(files, max_new_tokens=max(lengths), batch_size=BATCH, token_kept_ratio=ratio)
        ]
    finally:
        module.DecodingBatch = plain


def least(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Wall clock and CPU seconds, children's too, each the least."""
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            began, before = time.perf_counter(), os.times()
            work()
            after = os.times()
            took[name].append((time.perf_counter() - began, sum(after[:4]) - sum(before[:4])))
    return {name: (min(each[0] for each in all_), min(each[1] for each in all_)) for name, all_ in took.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rounds", 3), ("threads", 2), ("images", 64), ("new_tokens", 64)):
        parser.add_argument(name, nargs="?", type=int, default=default)
    figures.add_options(parser)
    chosen = parser.parse_args()
    rounds, threads, images, new_tokens = chosen.rounds, chosen.threads, chosen.images, chosen.new_tokens
    os.environ["OMP_NUM_THREADS"] = str(threads)
    use_huge_pages()
    keep_freed_memory()
    kept: dict[str, dict[str, float]] = {}
    alike: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        export = make_export(root, images)
        files = sorted((root / "media").iterdir())
        aurora = [sys.executable, "-m", "aurora_cli", "caption", str(files[0]), "--model", str(export)]
        first = least(
            {
                "peer": partial(_run, [sys.executable, "-c", FIRST_WORD, str(export), str(files[0])]),
                "ours": partial(_run, [*aurora, "--max-new-tokens", "1", "--workspace", folder]),
            },
            rounds,
        )
        _show("first word", first, 1, "at most 0.7 of the time")
        kept["first word"] = {name: cpu_s for name, (_, cpu_s) in first.items()}

        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor

        import aurora_cli

        torch.set_num_threads(threads)
        captioner = aurora_cli.load_captioner(export, device="cpu")
        captioner.prompter.end_ids = [-1]  # nothing ends a caption early
        model: Any = AutoModelForImageTextToText.from_pretrained(export).eval()
        processor: Any = AutoProcessor.from_pretrained(export)
        processor.tokenizer.padding_side = "left"
        even = [new_tokens] * len(files)
        uneven = np.random.default_rng(1).integers(min(4, new_tokens), new_tokens, len(files), endpoint=True).tolist()
        with torch.inference_mode():
            for what, lengths, wanted in (
                ("captions of one length", even, "1.5 times the peer's at ratio 1"),
                ("captions of uneven length", uneven, "1.6 times the peer's at ratio 1, 3 times at 0.1"),
            ):
                written: dict[str, list[str]] = {}
                works = {
                    "peer": partial(peer_loop, model, processor, files, lengths),
                    "ours": partial(our_captions, captioner, files, lengths, 1.0),
                    "ours at ratio 0.1": partial(our_captions, captioner, files, lengths, 0.1),
                }
                took = least({name: partial(_keep, written, name, work) for name, work in works.items()}, rounds)
                same = sum(one == other for one, other in zip(written["peer"], written["ours"], strict=True))
                print(f"{what}: {same} of {len(files)} are the peer's, word for word")
                _show(what, took, images, wanted)
                kept[what] = {name: cpu_s for name, (_, cpu_s) in took.items()}
                alike[what] = f"{same} of {len(files)}"
    figures.keep(chosen, "captions", {"images": images, "new_tokens": new_tokens, "rows": kept, "same": alike})


def _keep(written: dict[str, list[str]], name: str, work: Callable[[], list[str]]) -> None:
    written[name] = work()


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[2])


def _show(what: str, took: dict[str, tuple[float, float]], count: int, wanted: str) -> None:
    for name, (wall_s, cpu_s) in took.items():
        ratio = f"{took['peer'][0] / wall_s:.2f} times as fast by the clock, {took['peer'][1] / cpu_s:.2f} by CPU time"
        print(f"{what}, {name}: {count / wall_s:.3f}/s, {wall_s:.2f} s, {cpu_s:.2f} CPU s; {ratio}")
    print(f"{what}: asked for is {wanted}", flush=True)


if __name__ == "__main__":
    main()
