"""`aurora merge-tars`: parts into the archives that they were cut from."""

from dataclasses import dataclass, field
from pathlib import Path

from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.data.archives.finding.parts import Archive, find_archives, find_part_sets
from aurora_cli.data.archives.finding.unread import find_unread
from aurora_cli.data.archives.join_parts import join_parts
from aurora_cli.data.archives.spent import delete_spent
from aurora_cli.data.download.manifest import DownloadManifest
from aurora_cli.errors import EXIT_DATA, EXIT_OK, DataError
from aurora_cli.pipeline.result import Result


@dataclass(frozen=True)
class MergedArchive:
    """A whole set of parts, and whether it was merged before."""

    archive: str
    parts: int
    bytes: int
    done_before: bool


@dataclass(frozen=True)
class MergeTarsResult(Result):
    """What became of every set of parts."""

    archives: list[MergedArchive]
    problems: list[str] = field(default_factory=list)
    """Sets that cannot be joined, and why: nothing of them was written."""
    unread: list[str] = field(default_factory=list)
    """What looks like an archive, and that no step reads."""
    volumes: list[str] = field(default_factory=list)
    """Split zips, which are read where they lie."""
    deleted: list[str] = field(default_factory=list)
    dry_run: bool = False

    def lines(self) -> list[str]:
        shown = self.archives if self.dry_run else [entry for entry in self.archives if not entry.done_before]
        lines = [self._line(entry) for entry in shown]
        if not self.archives and not self.problems:
            lines.append("Nothing to do: no parts of archives here.")
        elif not shown and self.archives:
            lines.append(f"Nothing to do: {len(self.archives)} archives were merged before.")
        if self.deleted:
            lines.append(f"{len(self.deleted)} parts deleted.")
        lines += [f"Not merged: {problem}" for problem in self.problems]
        if self.problems:
            lines.append("Fetch what is missing with `aurora download` and try again.")
        lines += [f"{path}: is a split zip; extract reads its volumes where they lie." for path in self.volumes]
        return lines + [f"Not read: {line}" for line in self.unread]

    def _line(self, entry: MergedArchive) -> str:
        if not self.dry_run:
            return f"{entry.archive}: {entry.parts} parts, {entry.bytes:,} bytes"
        what = "is merged" if entry.done_before else "would be merged"
        return f"{entry.archive}: {what} from {entry.parts} parts, {entry.bytes:,} bytes"

    @property
    def exit_code(self) -> int:
        return EXIT_DATA if self.problems else EXIT_OK


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> MergeTarsResult:
    """Merge every set of parts in `settings.merge_tars.folders`.

    A set of which a part is missing, double, empty or of another size than its download says is named, and does not
    keep the others from being merged.

    Raises:
        DataError: no data at all
        HostError: the disk is full or cannot be written; the same command goes on from there
    """
    options, workspace = settings.merge_tars, Workspace(settings.workspace)
    folders = [workspace.path(folder) for folder in options.folders]
    for folder in folders:
        if not folder.exists():
            raise DataError(f"{folder}: there is no such file or folder", hint="Get the data first: aurora download")
    archives = find_archives(folders, DownloadManifest.complaint)
    sets, problems = _sorted_out(folders, archives)
    volumes = [str(archive.path) for archive in archives if archive.is_in_volumes]
    unread = [unread.message for unread in find_unread(folders)]
    done = {parts.path for parts in sets if parts.path.exists()}
    entries = {
        parts.path: MergedArchive(str(parts.path), len(parts.files), parts.size, parts.path in done) for parts in sets
    }
    if dry_run:
        return MergeTarsResult(list(entries.values()), problems, unread, volumes, dry_run=True)

    todo = [parts for parts in sets if parts.path not in done]
    if todo:
        with reporter.progress("merge", sum(parts.size for parts in todo), "bytes") as advance:
            for parts in todo:
                try:
                    join_parts(parts, advance, sync=options.sync or options.delete_parts)
                except DataError as error:
                    problems.append(error.message)
                    del entries[parts.path]
    deleted: list[str] = []
    if options.delete_parts:
        for parts in sets:
            if parts.path in entries:
                delete_spent(parts.files, parts.path)
                deleted += map(str, parts.files)
    return MergeTarsResult(list(entries.values()), problems, unread, volumes, deleted)


def _sorted_out(folders: list[Path], archives: list[Archive]) -> tuple[list[Archive], list[str]]:
    """The sets that can be joined, and what is wrong with the others."""
    sets = find_part_sets(folders, DownloadManifest.complaint)
    if not sets and not any(_has_anything(folder) for folder in folders):
        raise DataError(f"{', '.join(map(str, folders))}: nothing in here", hint="Get the data first: aurora download")
    problems = [archive.problem for archive in [*sets, *archives] if archive.problem is not None]
    problems += [line for folder in folders for line in DownloadManifest.missing_archives(folder)]
    broken = {archive.path for archive in [*sets, *archives] if archive.problem is not None}
    return [parts for parts in sets if parts.path not in broken], list(dict.fromkeys(problems))


def _has_anything(folder: Path) -> bool:
    return folder.is_file() or any(folder.iterdir())
