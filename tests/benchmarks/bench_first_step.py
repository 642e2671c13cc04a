"""Seconds from typing `aurora train` to its first optimizer step, and the memory, on a store of 20 M tokenized rows.

The rows are those of one shard (text of 30 to 2,000 tokens, images, videos of 8 frames), linked as often as it takes;
the model is the tiny preset's. Asked for: 45 s, planning included. Floor: the same command on the one shard.

    python tests/benchmarks/bench_first_step.py [rows, 20000000] [processes, 1]
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from aurora_cli.constants import IGNORE_INDEX, IMAGE_PLACEHOLDER
from aurora_cli.data.token_store.columns import EncodedRecords
from aurora_cli.data.token_store.entries import Counts, SourceFile
from aurora_cli.data.token_store.manifest import ShardManifest
from aurora_cli.data.token_store.schema import (
    DATA_FILE,
    MANIFEST,
    MERGED_SUMMARY_FILE,
    SUMMARY_FILE,
    write_dataset_files,
)
from aurora_cli.data.token_store.writer import ShardWriter, row_batch, summary_batch

SHARD_ROWS = 20_000
ROWS = int(float(sys.argv[1])) if len(sys.argv) > 1 else 20_000_000
PROCESSES = int(sys.argv[2]) if len(sys.argv) > 2 else 1
TOKENIZER = Path(__file__).parents[2] / "presets" / "tiny" / "tokenizer" / "tokenizer.json"
COMMAND = [
    sys.executable, "-m", "aurora_cli", "train", "--preset", "tiny", "--stage", "projection", "--max-steps", "1",
    "--set", "train.pack_tokens=4096", "--set", "train.pack_frames=256",
    "--set", "model.text_config.max_position_embeddings=4096", "--num-processes", str(PROCESSES),
]  # fmt: skip


def write_shard(folder: Path, images: int) -> None:
    rng = np.random.default_rng(0)
    text = np.exp(rng.uniform(np.log(30), np.log(2000), SHARD_ROWS)).astype(int).tolist()
    frames = rng.choice([0, 1, 8], SHARD_ROWS).tolist()
    ids = [
        np.concatenate([np.full(f, IMAGE_PLACEHOLDER), rng.integers(5, 600, t)])
        for t, f in zip(text, frames, strict=True)
    ]
    labels = [np.where((one == IMAGE_PLACEHOLDER) | (np.arange(len(one)) < 20), IGNORE_INDEX, one) for one in ids]
    names = [f"{number}.jpg" for number in rng.integers(0, images, 8 * SHARD_ROWS).tolist()]
    encoded = EncodedRecords(
        id=[str(number) for number in range(SHARD_ROWS)],
        image=[names[8 * n : 8 * n + f] if f else None for n, f in enumerate(frames)],
        video=[None] * SHARD_ROWS,
        media_lengths=[[f] if f else [] for f in frames],
        length=[len(one) for one in ids],
        target_tokens=[int((one != IGNORE_INDEX).sum()) for one in labels],
        input_ids=np.concatenate(ids).astype(np.int32),
        labels=np.concatenate(labels).astype(np.int32),
        rejected=[],
    )
    folder.mkdir()
    with ShardWriter(folder) as shard:
        shard.append(row_batch(encoded), summary_batch(encoded))


def write_store(folder: Path, shard: Path, copies: int) -> None:
    """A merged folder as `merge-shards` leaves it."""
    folder.mkdir()
    names = [DATA_FILE.format(index=index, count=copies) for index in range(copies)]
    for index, name in enumerate(names):
        os.link(shard / DATA_FILE.format(index=0, count=1), folder / name)
        os.link(shard / SUMMARY_FILE, folder / MERGED_SUMMARY_FILE.format(index=index, count=copies))
    write_dataset_files(folder, names, "0" * 16, spans=False)
    rows = SHARD_ROWS * copies
    source = SourceFile(path="media/mine.jsonl", size=0, sha256="0", frame_lists="separate")
    manifest = ShardManifest(
        tokenizer="tiny",
        tokenizer_fingerprint="0",
        bos_token="<s>",
        eos_token="</s>",
        template="vicuna",
        max_length=4096,
        frames=8,
        batch_size=rows,
        inputs=(source,),
        rows=rows,
        source=source,
        lines=(1, rows),
        media_root=source.media_root_path,
        counts=Counts(read=rows, kept=rows),
        data_sha256="0",
        files={},
    )
    manifest.write(folder / MANIFEST)
    shutil.copy(TOKENIZER, folder / "tokenizer.json")


def first_step(workspace: Path, store: str) -> tuple[float, float]:
    """Seconds until the first line of metrics, and the most memory (MB, shared pages once) of all its processes."""
    shutil.rmtree(workspace / "runs", ignore_errors=True)
    metrics = workspace / "runs" / "projection" / "metrics.jsonl"
    began = time.perf_counter()
    command = [*COMMAND, "--workspace", str(workspace), "--data", store]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    watched = psutil.Process(process.pid)
    took_s, most_mb = 0.0, 0.0
    while process.poll() is None:
        if not took_s and metrics.is_file() and metrics.stat().st_size:
            took_s = time.perf_counter() - began
        total = 0
        for one in [watched, *watched.children(recursive=True)]:
            try:
                total += one.memory_full_info().pss
            except psutil.Error:
                continue
        most_mb = max(most_mb, total / 1e6)
        time.sleep(0.1)
    if process.returncode:
        assert process.stderr is not None
        raise SystemExit(process.stderr.read())
    return took_s, most_mb


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        workspace = Path(name)
        (workspace / "media").mkdir()
        for number in range(50):
            Image.effect_noise((640, 480), 60).convert("RGB").save(workspace / "media" / f"{number}.jpg")
        write_shard(workspace / "shard", images=50)
        write_store(workspace / "one", workspace / "shard", 1)
        write_store(workspace / "all", workspace / "shard", ROWS // SHARD_ROWS)
        first_step(workspace, "one")  # whatever is built or read for the first time
        floor_s, floor_mb = first_step(workspace, "one")
        took_s, took_mb = first_step(workspace, "all")
        print(f"first step, {SHARD_ROWS:>12,} rows: {floor_s:5.1f} s, {floor_mb:6,.0f} MB   (floor)")
        print(f"first step, {ROWS:>12,} rows: {took_s:5.1f} s, {took_mb:6,.0f} MB   ratio {took_s / floor_s:.2f}")


if __name__ == "__main__":
    main()
