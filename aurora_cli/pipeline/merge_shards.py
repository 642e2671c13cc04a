"""`aurora merge-shards`: the shards of a folder as one data set, which is what `aurora train` reads.

DIR/merged/  a `datasets` folder whose Arrow files are the shards' own, hard-linked; manifest.json, summary files,
             rejected.jsonl, tokenizer.json
"""

from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.data.token_store.folder import SHARDS, TOKENIZER, tokenized_below
from aurora_cli.data.token_store.merge import checked_shards, is_merged, merged_manifest, refuse_foreign, write_merged
from aurora_cli.data.token_store.store import open_store
from aurora_cli.data.tokenization.preview import RowPreview, preview_of
from aurora_cli.errors import DataError, UsageError
from aurora_cli.io.locks import file_lock
from aurora_cli.pipeline.result import Result


@dataclass(frozen=True)
class MergedFolder:
    """One merged data set."""

    output: str
    shards: int
    rows: int
    made: bool
    """False: it was there."""
    first: RowPreview | None


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
    folders = folders_to_merge([workspace.path(folder) for folder in step.folders], workspace)
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


def folders_to_merge(named: list[Path], workspace: Workspace) -> list[Path]:
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


def plan(folder: Path, output: Path) -> str:
    """What merging would do, as a line."""
    manifest = merged_manifest(checked_shards(folder))
    if is_merged(folder, output, manifest):
        return f"{output}: nothing to do: {len(manifest.parts):,} shards are merged"
    return f"would merge {len(manifest.parts):,} shards of {folder} into {output}"


def merge(folder: Path, output: Path, *, copy_files: bool) -> MergedFolder:
    """Merge the shards of a folder, if that was not done before.

    Raises:
        DataError: shards are missing, damaged, or do not belong together.
        UsageError: links cannot reach the output.
    """
    manifest = merged_manifest(checked_shards(folder))
    made = not is_merged(folder, output, manifest)
    if made:
        write_merged(folder, output, manifest, copy_files=copy_files)
    store = open_store(output)
    backend = Tokenizer.from_file(str(output / TOKENIZER))
    first = preview_of(store.rows([0])[0], backend) if store.num_rows else None
    return MergedFolder(str(output), len(manifest.parts), store.num_rows, made, first)
