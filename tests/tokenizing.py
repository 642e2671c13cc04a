"""What the tests of tokenize, merge-shards and inspect share: records, settings, contents."""

import json
from pathlib import Path
from typing import Any

from aurora_cli.config.settings import MergeShardsSettings, ModelSettings, Settings, TokenizeSettings
from aurora_cli.data.token_store.entries import Counts, SourceFile
from aurora_cli.data.token_store.manifest import MergedManifest, MergedShard, ShardManifest, TokenizeManifest
from aurora_cli.data.token_store.store import Row, open_store

ROOT = Path(__file__).parents[1]
TINY = ROOT / "presets" / "tiny" / "tokenizer"


def record(index: int, **fields: Any) -> dict[str, Any]:
    turns = [
        {"from": "human", "value": "<image>\nDescribe."},
        {"from": "gpt", "value": f"A red circle, number {index}."},
    ]
    return {"id": f"r{index}", "image": f"{index}.jpg", "conversations": turns, **fields}


def write_records(path: Path, count: int, start: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record(index)) + "\n" for index in range(start, start + count)))
    return path


def settings(workspace: Path, **tokenize: Any) -> Settings:
    return Settings(
        workspace=workspace,
        model=ModelSettings(tokenizer=str(TINY)),
        tokenize=TokenizeSettings(**{"workers": 1, **tokenize}),
    )


def merge_settings(workspace: Path, **merge: Any) -> Settings:
    return Settings(workspace=workspace, merge_shards=MergeShardsSettings(**merge))


def tokenize_manifest(*files: str, sha256: str = "0", **fields: Any) -> TokenizeManifest:
    """What the manifests of a folder say alike, made from these files."""
    defaults = {"tokenizer": "tiny", "tokenizer_fingerprint": "0", "bos_token": "<s>", "eos_token": "</s>"}
    defaults |= {"template": "vicuna", "max_length": 4096, "frames": 8, "batch_size": 100_000}
    inputs = tuple(SourceFile(path=file, size=0, sha256=sha256, frame_lists="separate") for file in files)
    return TokenizeManifest(**{**defaults, **fields}, inputs=inputs)


def shard_manifest(rows: int, media_root: str = "media", **fields: Any) -> ShardManifest:
    """The manifest of a shard of so many rows, whose media lie below `media_root`."""
    base = tokenize_manifest(f"{media_root}/x.jsonl")
    defaults = {"source": base.inputs[0], "lines": (1, rows), "counts": Counts(read=rows, kept=rows), "files": {}}
    return ShardManifest(**dict(base), rows=rows, media_root=media_root, **{"data_sha256": "0", **defaults, **fields})


def merged_manifest(rows: int, file: str, sha256: str = "0") -> MergedManifest:
    """The manifest of a merged folder of so many rows that were made from one file, in one shard."""
    base = tokenize_manifest(file, sha256=sha256)
    counts = Counts(read=rows, kept=rows)
    part = MergedShard(
        shard="part-00000",
        rows=rows,
        media_root=base.inputs[0].media_root_path,
        source=base.inputs[0],
        lines=(1, rows),
        counts=counts,
        data_sha256="0",
        size=0,
    )
    return MergedManifest(
        **dict(base), rows=rows, media_root=part.media_root, counts=counts, data_sha256="0", parts=(part,)
    )


def contents(folder: Path) -> list[tuple]:
    """Every row of a store, with its tokens as lists."""
    store = open_store(folder)
    return [comparable(row) for row in store.rows(range(store.num_rows))]


def comparable(row: Row) -> tuple:
    return (*row[:4], row.input_ids.tolist(), row.labels.tolist())
