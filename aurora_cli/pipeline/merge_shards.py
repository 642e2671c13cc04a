"""`aurora merge-shards`: the shards of a folder as one data set, which is what `aurora train` reads.

    DIR/merged/  a `datasets` folder whose Arrow files are the shards' own, hard-linked; manifest.json, summary files,
                 rejected.jsonl, tokenizer.json

No row is read, so time and memory do not grow with rows. Order = shard number, then row.
"""

import errno
import hashlib
import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.constants import REJECTS_FILE
from aurora_cli.data.token_store.folder import (
    COMPLETE,
    RECIPE,
    SHARDS,
    TOKENIZER,
    collect_rejects,
    differences,
    part_name,
    shard_manifests,
    tokenized_below,
)
from aurora_cli.data.token_store.schema import (
    DATA_FILE,
    MANIFEST,
    MERGED_SUMMARY_FILE,
    SUMMARY_FILE,
    write_dataset_files,
)
from aurora_cli.data.token_store.store import MADE_AGAIN, open_store
from aurora_cli.data.tokenization.preview import Sample, sample_of
from aurora_cli.errors import DataError, UsageError
from aurora_cli.io.atomic import atomic_directory, file_lock, read_json, write_json
from aurora_cli.pipeline.result import Result


@dataclass(frozen=True)
class MergedFolder:
    """One merged data set."""

    output: str
    shards: int
    rows: int
    made: bool
    """False: it was there."""
    first: Sample | None


@dataclass(frozen=True)
class MergeShardsResult(Result):
    """What `aurora merge-shards` did."""

    folders: tuple[MergedFolder, ...]
    planned: tuple[str, ...] = ()
    """With --dry-run: what would be done."""

    def lines(self) -> list[str]:
        lines = list(self.planned)
        for folder in self.folders:
            done = "" if folder.made else " (nothing to do: it was merged before)"
            lines.append(f"{folder.output}: {folder.rows:,} items in {folder.shards:,} shards{done}")
            if folder.first is not None:
                lines += folder.first.lines()
        return lines


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> MergeShardsResult:
    """Merge the folders that the settings name, or every one that `tokenize` wrote in the workspace."""
    workspace = Workspace(settings.workspace)
    step = settings.merge_shards
    folders = chosen_folders([workspace.path(folder) for folder in step.folders], workspace)
    if step.output is not None and len(folders) > 1:
        raise UsageError(
            f"merge_shards.output: {step.output} is one folder, and {len(folders)} folders are to be merged",
            hint="Name the folder: aurora merge-shards DIR --output MERGED",
        )
    merged = []
    planned = []
    for folder in folders:
        output = folder / "merged" if step.output is None else workspace.path(step.output)
        refuse_foreign(output)
        if dry_run:
            planned.append(plan(folder, output))
            continue
        with file_lock(folder, "aurora merge-shards"):
            merged.append(merge(folder, output, copy_files=step.copy_files))
        if merged[-1].made:
            reporter.info(f"{output}: merged")
    return MergeShardsResult(tuple(merged), tuple(planned))


def chosen_folders(named: list[Path], workspace: Workspace) -> list[Path]:
    """Each named folder, or those below it that `tokenize` wrote; without a name, every one of the workspace.

    Raises:
        DataError: there are none.
    """
    found = []
    for folder in named or [workspace.tokenized]:
        if not (below := [folder] if (folder / SHARDS).is_dir() else tokenized_below(folder)):
            what = "holds no shards" if folder.exists() else "there is no such folder"
            above = next((parent for parent in folder.parents if (parent / SHARDS).is_dir()), None)
            hint = "aurora tokenize" if above is None else f"aurora merge-shards {above}"
            raise DataError(f"{folder}: {what}", hint=hint)
        found += below
    return found


def checked_shards(folder: Path) -> dict[int, dict[str, Any]]:
    """The manifests of all shards of a folder, by number.

    Raises:
        DataError: there are none, one is missing, or they do not belong together.
    """
    again = "Run aurora tokenize again: it makes what is missing."
    manifests = shard_manifests(folder)
    try:
        count = int(read_json(folder / COMPLETE)["shards"])
    except FileNotFoundError as error:
        raise DataError(
            f"{folder}: tokenize has not come to its end, {COMPLETE} is missing ({len(manifests)} shards are there)",
            hint=again,
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{folder / COMPLETE}: is damaged: {error!r}", hint=again) from error
    if missing := sorted(set(range(count)) - manifests.keys()):
        names = ", ".join(part_name(index) for index in missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise DataError(f"{folder}: {len(missing)} of {count} shards are missing or damaged: {names}", hint=again)
    if extra := sorted(manifests.keys() - set(range(count))):
        raise DataError(f"{folder}: {part_name(extra[0])} is there, but there shall be {count} shards", hint=again)
    for index, manifest in manifests.items():
        if found := differences(manifest, manifests[0]):
            raise DataError(
                f"{folder}: {part_name(index)} was made with other settings than {part_name(0)}: {'; '.join(found)}",
                hint="aurora tokenize --force",
            )
    return manifests


def check_rows(shard: Path) -> None:
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


def plan(folder: Path, output: Path) -> str:
    manifests = checked_shards(folder)
    if is_merged(output, merged_manifest(folder, manifests)):
        return f"{output}: nothing to do: {len(manifests):,} shards are merged"
    return f"would merge {len(manifests):,} shards of {folder} into {output}"


def merge(folder: Path, output: Path, *, copy_files: bool) -> MergedFolder:
    manifests = checked_shards(folder)
    manifest = merged_manifest(folder, manifests)
    made = not is_merged(output, manifest)
    if made:
        for index in manifests:
            check_rows(folder / SHARDS / part_name(index))
        if not (folder / TOKENIZER).is_file():
            raise DataError(f"{folder}: {TOKENIZER} is missing", hint="aurora tokenize --force")
        with atomic_directory(output) as partial:
            place_files(folder, partial, len(manifests), copy_files=copy_files)
            write_dataset_files(partial, data_names(len(manifests)), manifest["data_sha256"])
            write_json(partial / MANIFEST, manifest)
    store = open_store(output)
    backend = Tokenizer.from_file(str(output / TOKENIZER))
    first = sample_of(store.rows([0])[0], backend) if store.num_rows else None
    return MergedFolder(str(output), len(manifests), store.num_rows, made, first)


def merged_manifest(folder: Path, manifests: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """What the shards' manifests say alike, what they say one by one (`parts`), and their sums.

    Raises:
        DataError: a manifest lacks something.
    """
    try:
        return summed_up(manifests)
    except (KeyError, TypeError) as error:
        raise DataError(f"{folder}: the manifest of a shard is damaged: {error!r}", hint=MADE_AGAIN) from error


def summed_up(manifests: dict[int, dict[str, Any]]) -> dict[str, Any]:
    alike = (*RECIPE, "tokenizer", "bos_token", "eos_token")
    parts = [
        {
            "shard": part_name(index),
            "rows": manifest["rows"],
            "media_root": manifest["media_root"],
            "source": manifest["source"],
            "lines": manifest["lines"],
            "counts": manifest["counts"],
            "data_sha256": manifest["data_sha256"],
            "size": manifest["files"][DATA_FILE.format(index=0, count=1)],
        }
        for index, manifest in manifests.items()
    ]
    rejected: Counter[str] = Counter()
    for manifest in manifests.values():
        rejected.update(manifest["counts"]["rejected"])
    roots = {part["media_root"] for part in parts}
    digest = hashlib.sha256("".join(part["data_sha256"] for part in parts).encode()).hexdigest()
    counted = ("read", "kept", "tokens", "taught")
    return {
        **{key: manifests[0].get(key) for key in alike},
        "rows": sum(part["rows"] for part in parts),
        "media_root": roots.pop() if len(roots) == 1 else None,
        "counts": {
            **{name: sum(manifest["counts"][name] for manifest in manifests.values()) for name in counted},
            "rejected": dict(rejected),
        },
        "data_sha256": digest,
        "parts": parts,
    }


def data_names(count: int) -> list[str]:
    return [DATA_FILE.format(index=index, count=count) for index in range(count)]


def is_merged(output: Path, manifest: dict[str, Any]) -> bool:
    """Whether the output holds just these shards, with files of the right sizes."""
    try:
        same = read_json(output / MANIFEST) == manifest
        sizes = [(output / name).stat().st_size for name in data_names(len(manifest["parts"]))]
    except (OSError, ValueError):
        return False
    return same and sizes == [part["size"] for part in manifest["parts"]]


def refuse_foreign(output: Path) -> None:
    """Never replace a folder that is no merged one.

    Raises:
        UsageError: the output is such a folder.
    """
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    try:
        merged = "parts" in read_json(output / MANIFEST)
    except (OSError, ValueError, TypeError):
        merged = False
    if not merged:
        raise UsageError(f"{output}: exists and is not a merged folder", hint="Name another --output.")


def place_files(folder: Path, target: Path, count: int, *, copy_files: bool) -> None:
    place = shutil.copyfile if copy_files else link
    shards = [folder / SHARDS / part_name(index) for index in range(count)]
    for index, (shard, name) in enumerate(zip(shards, data_names(count), strict=True)):
        place(shard / DATA_FILE.format(index=0, count=1), target / name)
        place(shard / SUMMARY_FILE, target / MERGED_SUMMARY_FILE.format(index=index, count=count))
    shutil.copyfile(folder / TOKENIZER, target / TOKENIZER)
    collect_rejects(target / REJECTS_FILE, shards)


def link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
            raise
        raise UsageError(
            f"{source}: cannot be hard-linked to where the output is: {error.strerror}",
            hint="aurora merge-shards --copy",
        ) from error
