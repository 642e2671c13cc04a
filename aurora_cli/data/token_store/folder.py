"""The folder that `tokenize` writes and `merge-shards` reads: which shards are whole, and do they belong together."""

from collections.abc import Callable, Iterable
from pathlib import Path

from aurora_cli.config.workspace import VALIDATION
from aurora_cli.constants import REJECTS_FILE
from aurora_cli.data.token_store.columns import EncodedChunk
from aurora_cli.data.token_store.entries import Counts
from aurora_cli.data.token_store.manifest import CompletionManifest, ShardManifest, TokenizeManifest
from aurora_cli.data.token_store.rejected import collect_rejects
from aurora_cli.data.token_store.schema import MANIFEST, SHARD_DATA
from aurora_cli.data.token_store.shares import SHARES
from aurora_cli.data.token_store.writer import ShardWriter
from aurora_cli.errors import DataError, UsageError
from aurora_cli.io.atomic import atomic_directory, remove
from aurora_cli.io.json_files import NewerSchema
from aurora_cli.io.locks import lock_output

SHARDS = "shards"
MERGED = "merged"
COMPLETE = "tokenize.json"
"""Written last: how many shards the folder has."""
TOKENIZER = "tokenizer.json"


def part_name(index: int) -> str:
    """The name of shard `index`."""
    return f"part-{index:05d}"


def tokenized_below(folder: Path) -> list[Path]:
    """The folders that `tokenize` wrote, as deep as a workspace's `tokenized` lies in it: those that hold `shards/`."""
    patterns = (*("*/" * depth for depth in range(3)), f"{VALIDATION}/*/*/")
    return sorted(
        {shards.parent for pattern in patterns for shards in folder.glob(pattern + SHARDS) if shards.is_dir()}
    )


def shard_manifests(folder: Path) -> dict[int, ShardManifest]:
    """The manifest of every whole shard, by its number, in order.

    Raises:
        NewerSchema: a later version wrote one.
    """
    found = {}
    for shard in sorted((folder / SHARDS).glob("part-*")):
        number = shard.name.removeprefix("part-")
        if number.isdigit() and (manifest := whole_manifest(shard)) is not None:
            found[int(number)] = manifest
    return dict(sorted(found.items()))


def whole_manifest(shard: Path) -> ShardManifest | None:
    """The shard's manifest, if it has one and its files have the sizes that it says.

    Raises:
        NewerSchema: a later version wrote it.
    """
    try:
        manifest = ShardManifest.read(shard / MANIFEST)
        sizes = {name: (shard / name).stat().st_size for name in manifest.files}
    except NewerSchema:
        raise
    except (DataError, OSError):
        return None
    return manifest if SHARD_DATA in sizes and sizes == manifest.files else None


def begin(
    folder: Path, base: TokenizeManifest, *, force: bool, makes: Callable[[int], bool] | None = None
) -> dict[int, ShardManifest]:
    """The manifests of the shards that are there, all made as `base` says; with `force`, all are removed first.

    A process that shares the work `makes` some of the shards, removes only those, and leaves others that were made
    otherwise to those who make them again.

    Raises:
        UsageError: some were made otherwise; the message says in what.
    """
    if force:
        remove(folder / COMPLETE)
        for shard in (folder / SHARDS).glob("part-*"):
            number = shard.name.removeprefix("part-")
            if makes is None or (number.isdigit() and makes(int(number))):
                remove(shard)
    present = shard_manifests(folder)
    for index, manifest in [*present.items()]:
        found = manifest.differences(base)
        if found and force and makes is not None and not makes(index):
            del present[index]
        elif found := manifest.differences(base):
            raise UsageError(
                f"{folder / SHARDS / part_name(index)} was made with other settings: {'; '.join(found)}",
                hint="Use the same settings, another --output, or --force to make all shards again.",
            )
    return present


def is_complete(folder: Path, manifests: dict[int, ShardManifest]) -> bool:
    """Whether all the shards that the folder is to have are there, and no others; not if `tokenize.json` is damaged.

    Raises:
        NewerSchema: a later version wrote it.
    """
    try:
        completion = CompletionManifest.read(folder / COMPLETE)
    except NewerSchema:
        raise
    except DataError:
        return False
    return list(manifests) == list(range(completion.shards))


def write_shard(folder: Path, index: int, chunks: Iterable[EncodedChunk], base: TokenizeManifest) -> None:
    """Write shard `index` of the folder, from one chunk of records at least: it is there as a whole, or not at all."""
    remove(folder / COMPLETE)
    shard = folder / SHARDS / part_name(index)
    with lock_output(shard, "aurora tokenize"):  # where shares overlap, as of other numbers of processes
        _write_shard(shard, chunks, base)


def _write_shard(shard: Path, chunks: Iterable[EncodedChunk], base: TokenizeManifest) -> None:
    lines: list[int] = []
    counts: list[Counts] = []
    source = 0
    with atomic_directory(shard) as partial:
        with ShardWriter(partial) as writer, open(partial / REJECTS_FILE, "w", encoding="utf-8") as rejects:
            for chunk in chunks:
                writer.append(chunk.rows, chunk.summary)
                rejects.writelines(record.to_line() for record in chunk.rejected)
                counts.append(chunk.counts())
                lines += [chunk.first_line, chunk.last_line]
                source = chunk.source
        file = base.inputs[source]
        manifest = ShardManifest(
            **dict(base),
            rows=writer.rows,
            source=file,
            lines=(lines[0], lines[-1]),
            media_root=file.media_root_path,
            counts=Counts.total(counts),
            data_sha256=writer.data_sha256,
            files={each.name: each.stat().st_size for each in sorted(partial.iterdir())},
        )
        manifest.write(partial / MANIFEST)


def finish(folder: Path, manifests: dict[int, ShardManifest], base: TokenizeManifest) -> None:
    """Write what belongs to all shards, and at last that they are complete. Several may have made the last ones."""
    with lock_output(folder / COMPLETE, "aurora tokenize", wait=True):
        collect_rejects(folder / REJECTS_FILE, [folder / SHARDS / part_name(index) for index in manifests])
        CompletionManifest(**dict(base), shards=len(manifests)).write(folder / COMPLETE)
        (folder / SHARES).unlink(missing_ok=True)
