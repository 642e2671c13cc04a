"""A merged folder: the shards of a folder as one data set, whose Arrow files are the shards' own, linked or copied.

No row is read, so time and memory do not grow with rows. Order = shard number, then row.
"""

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from aurora_cli.config.share import shares_named
from aurora_cli.constants import REJECTS_FILE
from aurora_cli.data.token_store.entries import Counts
from aurora_cli.data.token_store.folder import COMPLETE, SHARDS, TOKENIZER, part_name, shard_manifests
from aurora_cli.data.token_store.manifest import (
    COMPLETED_AGAIN,
    MADE_AGAIN,
    CompletionManifest,
    MergedManifest,
    MergedShard,
    ShardManifest,
)
from aurora_cli.data.token_store.rejected import collect_rejects
from aurora_cli.data.token_store.schema import (
    DATA_FILE,
    MANIFEST,
    MERGED_SUMMARY_FILE,
    SHARD_DATA,
    SUMMARY_FILE,
    write_dataset_files,
)
from aurora_cli.data.token_store.shares import SHARES, SharedWork, what_to_type
from aurora_cli.data.token_store.store import open_store
from aurora_cli.errors import DataError, UsageError
from aurora_cli.io.atomic import atomic_directory
from aurora_cli.io.json_files import read_object

CLOCK_STEP_S = 2.0
"""What filesystems round times of files to, at most (FAT)."""


def checked_shards(folder: Path) -> dict[int, ShardManifest]:
    """The manifests of all shards of a folder, by number.

    Raises:
        DataError: there are none, one is missing, or they do not belong together.
    """
    manifests = shard_manifests(folder)
    completion = CompletionManifest.read_if_there(folder / COMPLETE)
    if completion is None and (work := SharedWork.read_if_there(folder / SHARES)) is not None:
        shares = work.missing(manifests)
        raise DataError(
            f"{folder}: {work.shards - len(manifests):,} of {work.shards:,} shards are missing, which are of"
            f" {shares_named(shares)} of {work.count}",
            hint=what_to_type(shares, work.count),
        )
    if completion is None:
        raise DataError(
            f"{folder}: tokenize has not come to its end, {COMPLETE} is missing ({len(manifests)} shards are there)",
            hint=COMPLETED_AGAIN,
        )
    count = completion.shards
    if missing := sorted(set(range(count)) - manifests.keys()):
        names = ", ".join(part_name(index) for index in missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise DataError(
            f"{folder}: {len(missing)} of {count} shards are missing or damaged: {names}", hint=COMPLETED_AGAIN
        )
    if extra := sorted(manifests.keys() - set(range(count))):
        raise DataError(
            f"{folder}: {part_name(extra[0])} is there, but there shall be {count} shards", hint=COMPLETED_AGAIN
        )
    for index, manifest in manifests.items():
        if found := manifest.differences(manifests[0]):
            raise DataError(
                f"{folder}: {part_name(index)} was made with other settings than {part_name(0)}: {'; '.join(found)}",
                hint="aurora tokenize --force",
            )
    return manifests


def merged_manifest(manifests: dict[int, ShardManifest]) -> MergedManifest:
    """What the manifests of the shards say alike, what they say one by one (`parts`), and their sums."""
    parts = tuple(_part(index, manifest) for index, manifest in manifests.items())
    roots = {part.media_root for part in parts}
    alike = {name: value for name, value in manifests[0] if name in MergedManifest.model_fields}
    return MergedManifest.model_validate(
        {
            **alike,
            "rows": sum(part.rows for part in parts),
            "media_root": roots.pop() if len(roots) == 1 else None,
            "counts": Counts.total(part.counts for part in parts),
            "data_sha256": hashlib.sha256("".join(part.data_sha256 for part in parts).encode()).hexdigest(),
            "parts": parts,
        }
    )


def _part(index: int, manifest: ShardManifest) -> MergedShard:
    return MergedShard(
        shard=part_name(index),
        rows=manifest.rows,
        media_root=manifest.media_root,
        source=manifest.source,
        lines=manifest.lines,
        counts=manifest.counts,
        data_sha256=manifest.data_sha256,
        size=manifest.files[SHARD_DATA],
    )


def is_merged(folder: Path, output: Path, manifest: MergedManifest) -> bool:
    """Whether the output holds just the shards of `folder`, as they are now.

    A shard that was made again may be the same to the byte as before it was damaged: that the manifests agree does not
    say that the output has its files and not the damaged ones.
    """
    try:
        if MergedManifest.read(output / MANIFEST) != manifest:
            return False
        return all(_is_link_or_copy(target, source) for source, target in _pairs(_shards(folder, manifest), output))
    except (DataError, OSError):
        return False


def refuse_foreign(output: Path) -> None:
    """Never replace a folder that is no merged one.

    Raises:
        UsageError: the output is such a folder.
    """
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    try:
        merged = "parts" in read_object(output / MANIFEST)
    except DataError:
        merged = False
    if not merged:
        raise UsageError(f"{output}: exists and is not a merged folder", hint="Name another --output.")


def write_merged(folder: Path, output: Path, manifest: MergedManifest, *, copy_files: bool) -> None:
    """Write the merged folder of all shards of `folder`: it is there as a whole, or not at all.

    Raises:
        DataError: a shard is damaged, or the tokenizer is missing.
        UsageError: links cannot reach the output.
    """
    shards = _shards(folder, manifest)
    for shard in shards:
        _check_rows(shard)
    if not (folder / TOKENIZER).is_file():
        raise DataError(f"{folder}: {TOKENIZER} is missing", hint="aurora tokenize --force")
    with atomic_directory(output) as partial:
        for source, target in _pairs(shards, partial):
            (shutil.copy2 if copy_files else _link)(source, target)
        shutil.copyfile(folder / TOKENIZER, partial / TOKENIZER)
        collect_rejects(partial / REJECTS_FILE, shards)
        write_dataset_files(partial, _data_names(len(shards)), manifest.data_sha256, spans=manifest.counts.spans > 0)
        manifest.write(partial / MANIFEST)


def _check_rows(shard: Path) -> None:
    """Read where the rows of a shard lie, not the rows: `train` shall not be the one to find a damaged shard.

    Raises:
        DataError: its files cannot be read, or hold other numbers of rows than the manifest says.
    """
    store = open_store(shard)
    summarised = sum(len(piece.length) for piece in store.summaries())
    if summarised != store.num_rows:
        raise DataError(
            f"{shard}: {SUMMARY_FILE} holds {summarised:,} rows, and there are {store.num_rows:,}", hint=MADE_AGAIN
        )


def _shards(folder: Path, manifest: MergedManifest) -> list[Path]:
    return [folder / SHARDS / part.shard for part in manifest.parts]


def _data_names(count: int) -> list[str]:
    return [DATA_FILE.format(index=index, count=count) for index in range(count)]


def _pairs(shards: list[Path], output: Path) -> Iterator[tuple[Path, Path]]:
    """Every file of a shard that a merged folder has under another name, and that name."""
    for index, (shard, name) in enumerate(zip(shards, _data_names(len(shards)), strict=True)):
        yield shard / SHARD_DATA, output / name
        yield shard / SUMMARY_FILE, output / MERGED_SUMMARY_FILE.format(index=index, count=len(shards))


def _is_link_or_copy(target: Path, source: Path) -> bool:
    """Whether a file is another name of `source`, or a copy with its time, of a `source` that was not written since."""
    ours, theirs = target.stat(), source.stat()
    if os.path.samestat(ours, theirs):
        return True
    return ours.st_size == theirs.st_size and abs(ours.st_mtime - theirs.st_mtime) <= CLOCK_STEP_S


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        raise UsageError(
            f"{source}: cannot be hard-linked to where the output is: {error.strerror}",
            hint="aurora merge-shards --copy",
        ) from error
