"""Records a second of `aurora tokenize`, its memory, and the token store's size and speed.

Floor: a bare loop of `encode_batch_fast` over the same texts, that also fetches the ids. Reference: a record at a
time, as the original does it (four `encode` calls a record in `Dataset.map`). Targets: 0.9 of the floor, 8 times the
reference, 700 MB a worker, 8.5 bytes a token, 40,000 rows a second gathered and 20,000 one by one.

    python tests/benchmarks/bench_tokenize.py [records, 50000] [workers]
"""

import json
import random
import re
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import psutil

from aurora_cli.config.settings import ModelSettings, Settings, TokenizeSettings
from aurora_cli.data.token_store.store import open_store
from aurora_cli.data.tokenization.tokenizer import load_tokenizer
from aurora_cli.pipeline.merge_shards import run as merge_shards
from aurora_cli.pipeline.tokenize.command import run as tokenize

RECORDS = int(float(sys.argv[1])) if len(sys.argv) > 1 else 50_000
WORKERS = int(sys.argv[2]) if len(sys.argv) > 2 else None
REFERENCE_RECORDS = 2_000
TOKENIZER = Path(__file__).parents[1] / "golden" / "tokenize" / "mistral_v1"
WORDS = re.findall(r"[A-Za-z]+[,.]?", " ".join(topics.values()))


def records() -> Iterator[dict]:
    """150-word answers of real English words, 50 distinct prompts."""
    draw = random.Random(0)
    prompts = [f"<image>\n{' '.join(draw.choices(WORDS, k=12))}?" for _ in range(50)]
    for index in range(RECORDS):
        start = draw.randrange(len(WORDS) - 150)
        human = {"from": "human", "value": draw.choice(prompts)}
        answer = {"from": "gpt", "value": " ".join(WORDS[start : start + 150])}
        yield {"id": index, "image": f"images/{index:08d}.jpg", "conversations": [human, answer]}


def texts_of(record: dict) -> list[str]:
    human, answer = (turn["value"] for turn in record["conversations"])
    return ["USER: ", human.removeprefix("<image>") + " ASSISTANT:", answer, "\n"]


def floor_s(file: Path) -> float:
    backend = load_tokenizer(TOKENIZER).backend
    with open(file) as lines:
        batch: list[str] = []
        spent = 0.0
        for number, line in enumerate(lines, start=1):
            batch += texts_of(json.loads(line))
            if number % 1_000 == 0 or number == RECORDS:
                began = time.perf_counter()
                for encoding in backend.encode_batch_fast(batch, add_special_tokens=False):
                    _ = encoding.ids
                spent += time.perf_counter() - began
                batch = []
    return spent


def reference_s(file: Path) -> float:
    """Seconds a record."""
    from datasets import Dataset, disable_caching, disable_progress_bars
    from transformers import PreTrainedTokenizerFast

    disable_caching()
    disable_progress_bars()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=load_tokenizer(TOKENIZER).backend)
    with open(file) as lines:
        some = [{"texts": texts_of(json.loads(next(lines)))} for _ in range(min(REFERENCE_RECORDS, RECORDS))]

    def encode(row: dict) -> dict:
        ids, labels = [1], [-100]
        for index, text in enumerate(row["texts"]):
            chunk = tokenizer.encode(text, add_special_tokens=False)
            ids += chunk
            labels += chunk if index == 2 else [-100] * len(chunk)
        return {"input_ids": ids, "labels": labels}

    dataset = Dataset.from_list(some)
    began = time.perf_counter()
    dataset.map(encode)
    return (time.perf_counter() - began) / len(some)


class Memory:
    """The largest resident memory of this process and of any child, sampled."""

    def __init__(self) -> None:
        self.largest = {"parent": 0, "worker": 0}
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def watch(self) -> None:
        this = psutil.Process()
        while not self.stopped.wait(0.1):
            self.largest["parent"] = max(self.largest["parent"], this.memory_info().rss)
            for child in this.children(recursive=True):
                try:
                    self.largest["worker"] = max(self.largest["worker"], child.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue

    def __enter__(self) -> "Memory":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.thread.join()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "records.jsonl")
        with open(file, "w") as lines:
            lines.writelines(json.dumps(record) + "\n" for record in records())
        print(f"{RECORDS:,} records, {file.stat().st_size / 1e6:.0f} MB")
        settings = Settings(
            workspace=Path(folder),
            model=ModelSettings(tokenizer=str(TOKENIZER)),
            tokenize=TokenizeSettings(inputs=(file,), output=Path("out"), workers=WORKERS),
        )
        with Memory() as memory:
            result = tokenize(settings)
        floor = floor_s(file)
        reference = reference_s(file)
        ours = RECORDS / result.seconds
        print(f"bare encode_batch_fast {RECORDS / floor:10,.0f} records/s   (floor)")
        print(f"record by record       {1 / reference:10,.0f} records/s   (reference)")
        ratios = f"{ours * floor / RECORDS:.2f} of floor, {ours * reference:.1f}x reference"
        print(f"aurora tokenize        {ours:10,.0f} records/s   {ratios}")
        print(f"memory: parent {memory.largest['parent'] / 1e6:.0f} MB, worker {memory.largest['worker'] / 1e6:.0f} MB")
        began = time.perf_counter()
        merge_shards(
            settings.model_copy(
                update={"merge_shards": settings.merge_shards.model_copy(update={"folders": (Path("out"),)})}
            )
        )
        print(f"merge-shards {time.perf_counter() - began:.2f} s")
        merged = Path(folder, "out", "merged")
        store = open_store(merged)
        size = sum(path.stat().st_size for path in merged.glob("data-*.arrow"))
        tokens = int(store.summary().length.sum(dtype=np.int64))
        print(f"{size / tokens:.2f} bytes a token ({tokens / RECORDS:.0f} tokens a record)")
        order = np.random.default_rng(0).integers(0, store.num_rows, 100_000)
        began = time.perf_counter()
        for start in range(0, len(order), 256):
            store.rows(order[start : start + 256])
        gathered = len(order) / (time.perf_counter() - began)
        began = time.perf_counter()
        for index in order[:20_000]:
            store.rows([index])
        print(f"{gathered:,.0f} rows/s gathered, {20_000 / (time.perf_counter() - began):,.0f} one by one")


if __name__ == "__main__":
    main()
