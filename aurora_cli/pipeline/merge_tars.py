"""`aurora merge-tars`: parts into the archives that they were cut from, in constant memory.

The kernel copies (copy_file_range), which on filesystems with shared extents copies nothing at all; the disk begins at
once with what has been copied. After a crash the
bytes that are already right stay: they are compared with the parts, not trusted.
"""

import errno
import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Advance, Reporter
from aurora_cli.data.archives.part_stream import PartStream
from aurora_cli.data.archives.parts import Archive, find_archives, find_part_sets
from aurora_cli.data.archives.spent import delete_spent
from aurora_cli.data.download.manifest import DownloadManifest
from aurora_cli.errors import DataError
from aurora_cli.io.atomic import PARTIAL_SUFFIX, disk_errors, file_lock, fsync_folder
from aurora_cli.io.durability import start_writing
from aurora_cli.pipeline.result import Result

_COPY_BYTES = 8 << 20
_COMPARE_BYTES = 1 << 20
_NOT_HERE = (errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)
"""copy_file_range says so between some filesystems; plain reading and writing does it there."""


@dataclass(frozen=True)
class MergeTarsResult(Result):
    """What became of every set of parts."""

    archives: list[dict[str, Any]]
    """archive, parts, bytes, done_before."""
    deleted: list[str] = field(default_factory=list)
    dry_run: bool = False

    def lines(self) -> list[str]:
        if self.dry_run:
            lines = [
                f"{entry['archive']}: {'is merged' if entry['done_before'] else 'would be merged'} "
                f"from {entry['parts']} parts, {entry['bytes']:,} bytes"
                for entry in self.archives
            ]
            return lines or ["Nothing to do: no parts of archives here."]
        fresh = [entry for entry in self.archives if not entry["done_before"]]
        lines = [f"{entry['archive']}: {entry['parts']} parts, {entry['bytes']:,} bytes" for entry in fresh]
        if not self.archives:
            lines.append("Nothing to do: no parts of archives here.")
        elif not fresh:
            lines.append(f"Nothing to do: {len(self.archives)} archives were merged before.")
        if self.deleted:
            lines.append(f"{len(self.deleted)} parts deleted.")
        return lines


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> MergeTarsResult:
    """Merge every set of parts in `settings.merge_tars.folders`.

    Raises:
        DataError: no data at all; or a part is missing, double, empty or of another size than its download says -
            then nothing is written, whatever the other sets are like
        HostError: the disk is full or cannot be written; the same command goes on from there
    """
    options, workspace = settings.merge_tars, Workspace(settings.workspace)
    folders = [workspace.path(folder) for folder in options.folders]
    sets = _checked(folders)
    done = {parts.path for parts in sets if parts.path.exists()}
    entries = [
        {
            "archive": str(parts.path),
            "parts": len(parts.files),
            "bytes": parts.size,
            "done_before": parts.path in done,
        }
        for parts in sets
    ]
    if dry_run:
        return MergeTarsResult(entries, dry_run=True)

    todo = [parts for parts in sets if parts.path not in done]
    if todo:
        with reporter.progress("merge", sum(parts.size for parts in todo), "bytes") as advance:
            for parts in todo:
                merge(parts, advance, sync=options.sync or options.delete_parts)
    deleted: list[str] = []
    if options.delete_parts:
        for parts in sets:
            delete_spent(parts.files, parts.path)
            deleted += map(str, parts.files)
    return MergeTarsResult(entries, deleted)


def _checked(folders: list[Path]) -> list[Archive]:
    for folder in folders:
        if not folder.exists():
            raise DataError(f"{folder}: there is no such file or folder", hint="Get the data first: aurora download")
    sets = find_part_sets(folders, DownloadManifest.complaint)
    problems = [parts.problem for parts in sets if parts.problem is not None]
    whole = [one for one in find_archives(folders, DownloadManifest.complaint) if not one.is_split]
    problems += [archive.problem for archive in whole if archive.problem is not None]
    problems += [line for folder in folders for line in DownloadManifest.missing_archives(folder)]
    if problems:
        raise DataError(
            "\n".join(problems), hint="Nothing was merged. Fetch what is missing with `aurora download` and try again."
        )
    if not sets and not any(_has_anything(folder) for folder in folders):
        raise DataError(f"{', '.join(map(str, folders))}: nothing in here", hint="Get the data first: aurora download")
    return sets


def _has_anything(folder: Path) -> bool:
    return folder.is_file() or any(folder.iterdir())


def merge(parts: Archive, advance: Advance, *, sync: bool = True) -> None:
    """Write the archive that `parts` are cut from; it appears when it is whole, with `sync` on the disk itself."""
    partial = parts.path.with_name(f".{parts.path.name}{PARTIAL_SUFFIX}")
    with disk_errors(parts.path), file_lock(parts.path.parent, "aurora merge-tars"):
        with open(partial, "r+b" if partial.exists() else "w+b", buffering=0) as out:
            position = _right_so_far(parts, out.fileno(), advance)
            if (
                os.fstat(out.fileno()).st_size > position
            ):  # not without need: ext4 writes at once what was truncated to 0
                out.truncate(position)
            _append(parts, out.fileno(), position, advance, sync=sync)
            if sync:
                os.fsync(out.fileno())
        partial.replace(parts.path)
        if sync:
            fsync_folder(parts.path.parent)


def _right_so_far(parts: Archive, out: int, advance: Advance) -> int:
    """How many bytes at the start of what an earlier run wrote are those of the parts."""
    position, size = 0, os.fstat(out).st_size
    with PartStream(parts.files) as stream:
        while position < size:
            written = os.pread(out, _COMPARE_BYTES, position)
            expected = stream.read_whole(len(written))
            if written != expected:
                same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(written, expected, strict=False))
                return position + sum(1 for _ in same)
            position += len(written)
            advance(len(written))
    return position


def _append(parts: Archive, out: int, position: int, advance: Advance, *, sync: bool) -> None:
    begin = 0
    for file in parts.files:
        size = file.stat().st_size
        if position < begin + size:
            offset = max(position - begin, 0)
            with open(file, "rb", buffering=0) as part:
                position = os.lseek(out, begin + offset, os.SEEK_SET)
                for count in _copy(part.fileno(), out, offset, size):
                    if sync:
                        start_writing(out, position, count)
                    position += count
                    advance(count)
        begin += size


def _copy(part: int, out: int, offset: int, size: int) -> Iterator[int]:
    """Copy a part from `offset` on; yields the bytes of each piece."""
    os.lseek(part, offset, os.SEEK_SET)
    copy: Callable[[int, int, int], int] = _copy_in_kernel
    while offset < size:
        try:
            count = copy(part, out, min(_COPY_BYTES, size - offset))
        except OSError as error:
            if copy is _copy_plainly or error.errno not in _NOT_HERE:
                raise
            copy = _copy_plainly
            continue
        if count == 0:
            raise DataError(f"a part became shorter while it was read (byte {offset:,} of {size:,})")
        offset += count
        yield count


def _copy_in_kernel(part: int, out: int, count: int) -> int:
    return os.copy_file_range(part, out, count)


def _copy_plainly(part: int, out: int, count: int) -> int:
    content = memoryview(os.read(part, min(count, _COMPARE_BYTES)))
    written = 0
    while written < len(content):
        written += os.write(out, content[written:])
    return written
