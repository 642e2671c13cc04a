"""The folder that `tokenize` writes and `merge-shards` reads: which shards are whole, and do they belong together."""

import json
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aurora_cli.constants import REJECTS_FILE
from aurora_cli.data.token_store.columns import EncodedChunk
from aurora_cli.data.token_store.schema import MANIFEST
from aurora_cli.data.token_store.writer import ShardWriter
from aurora_cli.errors import UsageError
from aurora_cli.io.atomic import atomic_directory, atomic_write, read_json, remove, write_json

SHARDS = "shards"
COMPLETE = "tokenize.json"
"""Written last: how many shards the folder has."""
TOKENIZER = "tokenizer.json"

RECIPE = (
    "schema_version",
    "tokenizer_fingerprint",
    "record_schema",
    "template",
    "chat_template",
    "max_length",
    "frames",
    "batch_size",
    "check_media",
    "inputs",
)
"""What of a manifest decides the ids in a shard, and which records it holds."""


def part_name(index: int) -> str:
    return f"part-{index:05d}"


def tokenized_below(folder: Path) -> list[Path]:
    """The folders that `tokenize` wrote, as deep as a workspace's `tokenized` lies in it: those that hold `shards/`."""
    return sorted(
        shards.parent for depth in range(3) for shards in folder.glob("*/" * depth + SHARDS) if shards.is_dir()
    )


def shard_manifests(folder: Path) -> dict[int, dict[str, Any]]:
    """The manifest of every whole shard, by its number, in order."""
    found = {}
    for shard in sorted((folder / SHARDS).glob("part-*")):
        number = shard.name.removeprefix("part-")
        if number.isdigit() and (manifest := whole_manifest(shard)) is not None:
            found[int(number)] = manifest
    return dict(sorted(found.items()))


def whole_manifest(shard: Path) -> dict[str, Any] | None:
    """The shard's manifest, if it has one and its files have the sizes that it says."""
    try:
        manifest = read_json(shard / MANIFEST)
        whole = all((shard / name).stat().st_size == size for name, size in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return manifest if whole else None


def differences(there: dict[str, Any], now: dict[str, Any], keys: tuple[str, ...] = RECIPE) -> list[str]:
    """The settings in which two recipes differ, with both values."""
    found = []
    for key in keys:
        if there.get(key) == now.get(key):
            continue
        if key == "inputs":
            found += input_differences(there.get(key) or [], now.get(key) or [])
        elif key == "tokenizer_fingerprint":
            names = there.get("tokenizer"), now.get("tokenizer")
            found.append(
                f"tokenizer: {names[0]} ({str(there.get(key))[:12]}), not {names[1]} ({str(now.get(key))[:12]})"
            )
        else:
            found.append(f"{key}: {there.get(key)}, not {now.get(key)}")
    return found


def input_differences(there: list[dict[str, Any]], now: list[dict[str, Any]]) -> list[str]:
    if len(there) != len(now):
        return [f"input: {len(there)} files, not {len(now)}"]
    found = []
    for old, new in zip(there, now, strict=True):
        if old["sha256"] != new["sha256"]:
            found.append(f"input: {new['path']} had sha256 {old['sha256'][:12]} and has {new['sha256'][:12]}")
        elif old["frame_lists"] != new["frame_lists"]:
            found.append(f"frame_lists of {new['path']}: {old['frame_lists']}, not {new['frame_lists']}")
    return found


def begin(folder: Path, base: dict[str, Any], *, force: bool) -> dict[int, dict[str, Any]]:
    """The manifests of the shards that are there, all made as `base` says; with `force`, all are removed first.

    Raises:
        UsageError: some were made otherwise; the message says in what.
    """
    if force:
        remove(folder / COMPLETE)
        remove(folder / SHARDS)
    there = shard_manifests(folder)
    for index, manifest in there.items():
        if found := differences(manifest, base):
            raise UsageError(
                f"{folder / SHARDS / part_name(index)} was made with other settings: {'; '.join(found)}",
                hint="Use the same settings, another --output, or --force to make all shards again.",
            )
    return there


def is_complete(folder: Path, manifests: dict[int, dict[str, Any]]) -> bool:
    """Whether all the shards that the folder is to have are there, and no others."""
    try:
        return list(manifests) == list(range(read_json(folder / COMPLETE)["shards"]))
    except FileNotFoundError:
        return False


def write_shard(folder: Path, index: int, chunks: Iterable[EncodedChunk], base: dict[str, Any]) -> None:
    """Write shard `index` of the folder: it is there as a whole, or not at all."""
    remove(folder / COMPLETE)
    lines: list[int] = []
    counts = Counter(read=0, tokens=0, taught=0)
    rejected: Counter[str] = Counter()
    source: dict[str, Any] = {}
    with atomic_directory(folder / SHARDS / part_name(index)) as partial:
        with ShardWriter(partial) as writer, open(partial / REJECTS_FILE, "w", encoding="utf-8") as rejects:
            for chunk in chunks:
                writer.append(chunk.rows, chunk.summary)
                rejects.writelines(json.dumps(entry) + "\n" for entry in chunk.rejected)
                rejected.update(entry["reason"] for entry in chunk.rejected)
                counts["read"] += chunk.read
                counts["tokens"] += int(chunk.summary.column("length").to_numpy().sum())
                counts["taught"] += int(chunk.summary.column("taught").to_numpy().sum())
                lines += [chunk.first_line, chunk.last_line]
                source = base["inputs"][chunk.source]
        manifest = {
            **base,
            "rows": writer.rows,
            "source": source,
            "lines": [lines[0], lines[-1]],
            "media_root": Path(source["path"]).parent.as_posix(),
            "counts": {**counts, "kept": writer.rows, "rejected": dict(rejected)},
            "data_sha256": writer.data_sha256,
            "files": {file.name: file.stat().st_size for file in sorted(partial.iterdir())},
        }
        write_json(partial / MANIFEST, manifest)


def finish(folder: Path, manifests: dict[int, dict[str, Any]], base: dict[str, Any]) -> None:
    """Write what belongs to all shards, and at last that they are complete."""
    collect_rejects(folder / REJECTS_FILE, [folder / SHARDS / part_name(index) for index in manifests])
    write_json(folder / COMPLETE, {**base, "shards": len(manifests)})


def collect_rejects(target: Path, shards: Iterable[Path]) -> None:
    with atomic_write(target) as rejects:
        for shard in shards:
            with open(shard / REJECTS_FILE, "rb") as part:
                shutil.copyfileobj(part, rejects)
