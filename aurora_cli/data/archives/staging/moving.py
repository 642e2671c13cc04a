"""Files from a folder on scratch to their target on another disk, durable in groups."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from aurora_cli.config.settings import ExtractSettings
from aurora_cli.constants import REJECTS_FILE
from aurora_cli.data.archives.finding.parts import Archive
from aurora_cli.data.archives.journal import GROUP_BYTES, ExtractionState, Journal
from aurora_cli.data.archives.policy import STATE_FOLDER
from aurora_cli.data.archives.reading.tar_bytes import Advance
from aurora_cli.data.archives.receipt import ExtractionReceipt, Progress, RejectedMember
from aurora_cli.data.archives.safe_folder import FolderWriter, Refused
from aurora_cli.data.archives.unpack import GROUP_MEMBERS, NOT_POSSIBLE, share_of_open_files

_PIECE = 8 << 20


def move(
    archive: Archive,
    folder: Path,
    state: ExtractionState,
    staged: ExtractionReceipt,
    *,
    settings: ExtractSettings,
    advance: Advance,
) -> ExtractionReceipt:
    """Copy all of `folder`, of which `staged` is the receipt, to the state's target, and write its receipt there.

    Nothing is removed here: whoever calls again goes on behind the last group.
    """
    source = ExtractionState(archive, folder)
    mark = f"{staged.identity}:{folder}:{source.receipt_path.stat().st_mtime_ns}"
    layout = f"{staged.layout}, moved"  # a run without scratch counts otherwise, and begins anew
    after = state.progress(mark, layout)
    own = {file.name for file in archive.files if file.parent.resolve() == state.target.resolve()}
    open_folders = share_of_open_files(settings.workers)
    with (
        FolderWriter(state.target, partial=state.partial_name, open_folders=open_folders) as writer,
        state.journal(mark, layout, after, sync=settings.sync) as journal,
    ):
        if after.rejects_size == 0 and source.rejects_path.exists():
            with open(source.rejects_path, "rb") as lines:
                journal.add_rejects(lines)
        moving = _Moving(str(archive.path), folder, writer, journal, frozenset(own | {REJECTS_FILE}), advance)
        moving.run(after)
    there = tuple(name for name in staged.samples if os.path.lexists(state.target / name))
    receipt = staged.model_copy(
        update={
            "members": staged.members - moving.rejected_members,
            "bytes": staged.bytes - moving.rejected_bytes,
            "rejected": staged.rejected + moving.rejected,
            "samples": there,
            "settings": {**staged.settings, "sync": settings.sync},
        }
    )
    state.finish(receipt, sync=settings.sync)
    return receipt


class _Found(NamedTuple):
    """What lies on scratch."""

    steps: list[str]
    path: str
    status: os.stat_result
    kind: str


class _Moving:
    """One pass over a folder."""

    def __init__(
        self,
        archive: str,
        folder: Path,
        writer: FolderWriter,
        journal: Journal,
        reserved: frozenset[str],
        advance: Advance,
    ) -> None:
        self.archive, self.folder, self.writer, self.journal = archive, folder, writer, journal
        self.reserved, self.advance = reserved, advance
        self.rejected, self.rejected_members, self.rejected_bytes = 0, 0, 0
        """Refused by the target, the files and links among them, and the bytes of these."""
        self._first_names: dict[int, list[str]] = {}
        """Of files with several names, by inode: the others are links to it."""

    def run(self, after: Progress) -> None:
        self.rejected, self.rejected_members, self.rejected_bytes = after.rejected, after.members, after.bytes
        count, size = 0, 0
        for found in _in_order(self.folder):
            count += 1
            if count > after.offset:
                self.advance(0, 0)  # where it may be stopped
                size += found.status.st_size
                self._take(found)
                if size >= GROUP_BYTES or (count - after.offset) % GROUP_MEMBERS == 0:
                    self._group_is_done(count)
                    size = 0
            if found.kind == "file" and found.status.st_nlink > 1:
                self._first_names.setdefault(found.status.st_ino, found.steps)
        self._group_is_done(count)

    def _group_is_done(self, count: int) -> None:
        self.journal.group_is_done(
            offset=count, members=self.rejected_members, size=self.rejected_bytes, rejected=self.rejected
        )

    def _take(self, found: _Found) -> None:
        try:
            if len(found.steps) == 1 and found.steps[0] in self.reserved:
                raise Refused("has the name of a file that is in use")
            self._write(found)
            return
        except Refused as error:
            reason = error.reason
        except OSError as error:
            if error.errno not in NOT_POSSIBLE:
                raise
            reason = f"is not possible on this filesystem: {error.strerror}"
        if found.kind == "folder" and os.listdir(found.path):  # noqa: PTH208 - names are enough
            return  # made for what is in it, which is refused one by one
        self.journal.reject(RejectedMember(archive=self.archive, member="/".join(found.steps), reason=reason))
        self.rejected += 1
        self.rejected_members += found.kind != "folder"
        self.rejected_bytes += found.status.st_size if found.kind == "file" else 0

    def _write(self, found: _Found) -> None:
        status, steps = found.status, found.steps
        if found.kind == "folder":
            self.writer.make_folder(steps)
        elif found.kind == "link":
            self.writer.link(steps, os.readlink(found.path))  # noqa: PTH115 - as it is written
        elif (first := self._first_names.get(status.st_ino)) is not None:
            self.writer.hard_link(steps, first)
        else:
            with open(found.path, "rb", buffering=0) as file:
                mode, mtime = status.st_mode & 0o777, status.st_mtime
                if status.st_blocks * 512 < status.st_size:
                    pieces = self._data(file.fileno(), status.st_size)
                    self.writer.write_sparse_file(steps, pieces, size=status.st_size, mode=mode, mtime=mtime)
                else:
                    whole = (piece for _, piece in self._between(file.fileno(), 0, status.st_size))
                    self.writer.write_file(steps, whole, mode=mode, mtime=mtime)

    def _data(self, file: int, size: int) -> Iterator[tuple[int, memoryview]]:
        """What lies between a file's holes."""
        end = 0
        while end < size:
            try:
                start = os.lseek(file, end, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                return  # a hole to its end
            end = os.lseek(file, start, os.SEEK_HOLE)
            yield from self._between(file, start, end)

    def _between(self, file: int, start: int, end: int) -> Iterator[tuple[int, memoryview]]:
        while start < end and (piece := os.pread(file, min(_PIECE, end - start), start)):
            self.advance(0, 0)
            yield start, memoryview(piece)
            start += len(piece)


def _in_order(folder: Path, above: tuple[str, ...] = ()) -> Iterator[_Found]:
    """All below a folder but the state of extraction, always in the same order.

    Names in descending order: an index comes before its tar, which without one would be taken for an archive.
    """
    with os.scandir(folder) as entries:
        sorted_entries = sorted(entries, key=lambda entry: entry.name, reverse=True)
    for entry in sorted_entries:
        if not above and entry.name == STATE_FOLDER:
            continue
        steps, status = (*above, entry.name), entry.stat(follow_symlinks=False)
        if entry.is_symlink():
            yield _Found([*steps], entry.path, status, "link")
        elif entry.is_dir(follow_symlinks=False):
            yield _Found([*steps], entry.path, status, "folder")
            yield from _in_order(Path(entry.path), steps)
        else:
            yield _Found([*steps], entry.path, status, "file")
