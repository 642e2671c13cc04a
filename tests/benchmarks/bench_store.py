"""The token store at its design size: merging, opening, inspecting, and reading rows at random.

Targets: merge-shards of 10 M rows in 100 shards in 5 s and 300 MB of anonymous memory, inspect's summary of them in
10 s; a merged folder of 20 M rows opens in 1 s; 8.5 bytes a token; 40,000 rows a second gathered, 20,000 one by one.
Floors, in the same run: linking the files of the shards, mapping the files, summing the columns of the summaries,
copying the tokens of the same rows out of one array.

    python tests/benchmarks/bench_store.py [rows, 10000000] [shards, 100]
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from aurora_cli.data.token_store.columns import EncodedRecords
from aurora_cli.data.token_store.entries import Counts, SourceFile
from aurora_cli.data.token_store.manifest import CompletionManifest, ShardManifest, TokenizeManifest
from aurora_cli.data.token_store.schema import MANIFEST, SUMMARY_FILE
from aurora_cli.data.token_store.store import open_store
from aurora_cli.data.token_store.writer import ShardWriter, row_batch, summary_batch

ROWS = int(float(sys.argv[1])) if len(sys.argv) > 1 else 10_000_000
SHARDS = int(sys.argv[2]) if len(sys.argv) > 2 else 100
SHORT, USUAL = 8, 250
"""Tokens a row: few where only the number of rows counts, and as many as a caption has."""
TOKENIZER = Path(__file__).parents[2] / "presets" / "tiny" / "tokenizer" / "tokenizer.json"
SOURCE = SourceFile(path="data/vision/mine/mine.jsonl", size=0, sha256="0", frame_lists="separate")
BASE = TokenizeManifest(
    tokenizer="tiny",
    tokenizer_fingerprint="0",
    bos_token="<s>",
    eos_token="</s>",
    template="vicuna",
    max_length=4096,
    frames=8,
    batch_size=ROWS // SHARDS,
    inputs=(SOURCE,),
)

MEASURED = """
import sys, threading, time
from pathlib import Path
from aurora_cli.config.settings import InspectSettings, MergeShardsSettings, Settings
from aurora_cli.pipeline import merge_shards
from aurora_cli.pipeline.inspect import command as inspect

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1e3

def watch():
    while not stopped.wait(0.005):
        largest[0] = max(largest[0], anonymous())

command, folder = sys.argv[1:]
largest, stopped = [0.0], threading.Event()
settings = Settings(
    workspace=Path(folder),
    merge_shards=MergeShardsSettings(folders=("tokenized",)),
    inspect=InspectSettings(path=Path("tokenized/merged")),
)
step = merge_shards.run if command == "merge" else inspect.run
threading.Thread(target=watch, daemon=True).start()
began = time.perf_counter()
result = step(settings)
seconds = time.perf_counter() - began
stopped.set()
assert result.lines()
print(seconds, largest[0])
"""


def encoded(first: int, count: int, tokens: int) -> EncodedRecords:
    ids = np.tile(np.arange(tokens, dtype=np.int32) % 100 + 3, count)
    ids[::tokens] = -200
    labels = np.where(np.arange(len(ids)) % tokens < tokens // 2, -100, ids).astype(np.int32)
    return EncodedRecords(
        id=[f"{index:08d}" for index in range(first, first + count)],
        image=[[f"images/{index % 1000:04d}/{index:08d}.jpg"] for index in range(first, first + count)],
        video=[None] * count,
        media_lengths=[[1]] * count,
        length=[tokens] * count,
        target_tokens=[tokens - tokens // 2] * count,
        input_ids=ids,
        labels=labels,
        rejected=[],
    )


def write_shard(folder: Path, rows: int, tokens: int, index: int = 0) -> None:
    """A shard as `tokenize` writes it."""
    folder.mkdir(parents=True)
    with ShardWriter(folder) as writer:
        for first in range(0, rows, 10_000):
            batch = encoded(first, min(10_000, rows - first), tokens)
            writer.append(row_batch(batch), summary_batch(batch))
    (folder / "rejected.jsonl").touch()
    target_tokens = rows * (tokens - tokens // 2)
    manifest = ShardManifest(
        **dict(BASE),
        rows=rows,
        source=SOURCE,
        lines=(index * rows + 1, (index + 1) * rows),
        media_root=SOURCE.media_root_path,
        counts=Counts(read=rows, kept=rows, tokens=rows * tokens, target_tokens=target_tokens),
        data_sha256=writer.data_sha256,
        files={file.name: file.stat().st_size for file in sorted(folder.iterdir())},
    )
    manifest.write(folder / MANIFEST)


def write_folder(folder: Path, rows: int, shards: int) -> None:
    """A folder of many shards, whose rows are those of one; each shard has files of its own."""
    first = folder / "shards" / "part-00000"
    write_shard(first, rows // shards, SHORT)
    for index in range(1, shards):
        shutil.copytree(first, folder / "shards" / f"part-{index:05d}")
    CompletionManifest(**dict(BASE), shards=shards).write(folder / "tokenize.json")
    shutil.copyfile(TOKENIZER, folder / "tokenizer.json")
    os.sync()


def measured(command: str, folder: Path) -> tuple[float, float]:
    """Seconds, and MB of anonymous memory at most, in a process of its own."""
    done = subprocess.run([sys.executable, "-c", MEASURED, command, str(folder)], check=True, capture_output=True)
    seconds, megabytes = map(float, done.stdout.split())
    return seconds, megabytes


def link_s(folder: Path) -> float:
    """Seconds to link every file of the shards that merging links."""
    target = folder / "floor"
    began = time.perf_counter()
    target.mkdir()
    for index, shard in enumerate(sorted((folder / "tokenized/shards").iterdir())):
        for name in ("data-00000-of-00001.arrow", SUMMARY_FILE):
            os.link(shard / name, target / f"{index}-{name}")
    seconds = time.perf_counter() - began
    shutil.rmtree(target)
    return seconds


def map_s(merged: Path) -> float:
    began = time.perf_counter()
    _ = [pa.ipc.open_stream(pa.memory_map(str(path))).read_all() for path in sorted(merged.glob("data-*.arrow"))]
    return time.perf_counter() - began


def sum_s(merged: Path) -> float:
    began = time.perf_counter()
    for path in sorted(merged.glob("summary-*.arrow")):
        with pa.memory_map(str(path)) as file:
            for batch in pa.ipc.open_stream(file):
                _ = [column.to_numpy().sum() for column in batch.columns]
    return time.perf_counter() - began


def show(name: str, ours: float, floor: float, unit: str, target: str) -> None:
    print(f"{name:<34} {ours:>10,.4g} {unit:<7} floor {floor:>10,.4g}   ratio {ours / floor:>8,.3g}   target {target}")


def merging(folder: Path, rows: int, shards: int) -> None:
    write_folder(folder / "tokenized", rows, shards)
    floor = link_s(folder)
    seconds, megabytes = measured("merge", folder)
    merged = folder / "tokenized" / "merged"
    size = sum(file.stat().st_size for file in merged.iterdir())
    print(f"{rows:,} rows in {shards} shards, {size / 1e9:.1f} GB")
    show("merge-shards", seconds, floor, "s", "<= 5")
    print(f"{'  its anonymous memory':<34} {megabytes:>10,.0f} MB      target <= 300")
    again, _ = measured("merge", folder)
    print(f"{'merge-shards, nothing to do':<34} {again:>10,.3g} s")
    floor = map_s(merged)
    began = time.perf_counter()
    store = open_store(merged)
    show("opening", time.perf_counter() - began, floor, "s", "<= 1 at 20 M rows")
    assert store.num_rows == rows
    floor = sum_s(merged)
    seconds, megabytes = measured("inspect", folder)
    show("inspect", seconds, floor, "s", "<= 10")
    print(f"{'  its anonymous memory':<34} {megabytes:>10,.0f} MB")


def reading(folder: Path, rows: int = 100_000) -> None:
    write_shard(folder, rows, USUAL)
    store = open_store(folder)
    size = (folder / "data-00000-of-00001.arrow").stat().st_size
    show("bytes a token, all columns", size / (rows * USUAL), 8.0, "bytes", "<= 8.5")
    order = np.random.default_rng(0).integers(0, rows, rows).tolist()
    flat = np.zeros((rows, USUAL), np.int32)
    began = time.perf_counter()
    for index in order:
        flat[index].copy()
        flat[index].copy()
    floor = rows / (time.perf_counter() - began)
    for name, gathered, target in (("rows gathered by 256", 256, ">= 40,000"), ("rows one by one", 1, ">= 20,000")):
        began = time.perf_counter()
        for start in range(0, rows, gathered):
            for row in store.rows(order[start : start + gathered]):
                row.input_ids.copy()
                row.labels.copy()
        show(name, rows / (time.perf_counter() - began), floor, "rows/s", target)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        merging(Path(folder, "once"), ROWS, SHARDS)
        shutil.rmtree(Path(folder, "once"))
        reading(Path(folder, "rows"))
    with tempfile.TemporaryDirectory() as folder:
        merging(Path(folder), 2 * ROWS, 2 * SHARDS)


if __name__ == "__main__":
    main()
