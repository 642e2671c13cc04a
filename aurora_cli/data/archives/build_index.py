"""One seekable tar and an index of it, instead of a million small files.

`NAME.tar.index` lies beside `NAME.tar`; `index_table` is its form. Names are bytes, as the filesystem would have them.
A compressed or split archive, or a zip, is written into `NAME.tar` once; a plain tar gets the index.
"""

import contextlib
import errno
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from aurora_cli.config.settings import ExtractSettings
from aurora_cli.constants import REJECTS_FILE
from aurora_cli.data.archives.finding.parts import Archive
from aurora_cli.data.archives.index_pass import IndexPass
from aurora_cli.data.archives.index_writer import IndexWriter
from aurora_cli.data.archives.indexed_tar import index_of, source_of
from aurora_cli.data.archives.journal import ExtractionState, Journal, identity_of
from aurora_cli.data.archives.reading.formats import HEAD_BYTES, format_of
from aurora_cli.data.archives.reading.tar_bytes import Advance
from aurora_cli.data.archives.reading.tar_reader import TarStream
from aurora_cli.data.archives.receipt import PER_PROCESS, ExtractionReceipt, Progress, Tally
from aurora_cli.data.archives.safe_folder import FolderWriter
from aurora_cli.data.archives.seekable_copy import SeekableCopy
from aurora_cli.errors import DataError
from aurora_cli.io.atomic import PARTIAL_SUFFIX, disk_errors, fsync_file, fsync_folder, put_file


def needs_no_copy(archive: Archive, target: Path) -> bool:
    """Whether the archive is itself seekable, so that only an index is missing."""
    if archive.is_split or archive.path.parent.resolve() != target.resolve():
        return False
    with open(archive.path, "rb") as file:
        return format_of(file.read(HEAD_BYTES)) is None


def check_copy(archive: Archive, target: Path) -> Path:
    """The name of an archive's seekable copy.

    Raises:
        DataError: another archive has it
    """
    tar = target / f"{archive.stem}.tar"
    if tar.exists() and source_of(tar) != archive.path.name:
        raise DataError(
            f"{archive.path}: {tar} is in the way of its seekable copy", hint="Move one of them to another folder."
        )
    return tar


def build_index(
    archive: Archive, target: Path, *, settings: ExtractSettings, advance: Advance, work_folder: Path | None = None
) -> ExtractionReceipt:
    """Turn `archive` into a seekable tar with an index in `target`, and return what became of it.

    Members that `unpack` would refuse are not in the index. A broken archive's whole members are. A sparse member,
    whose bytes do not lie in one piece, becomes a file beside the tar. `work_folder`: where the index is made, in many
    small writes; none: beside the journal.

    Raises:
        HostError: the disk is full or cannot be written; the same call goes on from there
        UsageError: another process is at it
        DataError: another archive has the seekable tar's name
    """
    identity = identity_of(archive)
    target.mkdir(parents=True, exist_ok=True)
    state = ExtractionState(archive, target)
    work = _Work(archive, target, state, identity, settings, advance, work_folder or state.folder)
    direct = needs_no_copy(archive, target)
    tar = archive.path if direct else check_copy(archive, target)
    with work.state.lock(), disk_errors(target), _database_errors(work.folder):
        if (receipt := work.state.finished(identity, "index")) is not None:
            return receipt
        tally = _index_directly(work) if direct else _index_copy(work, tar)
        if settings.sync:
            fsync_folder(target)
        receipt = tally.receipt(
            str(archive.path), "index", identity, settings.model_dump(mode="json", exclude=PER_PROCESS)
        )
        work.state.finish(receipt, sync=settings.sync)
    return receipt


@dataclass(frozen=True)
class _Work:
    """What is indexed, where to, and how."""

    archive: Archive
    target: Path
    state: ExtractionState
    identity: str
    settings: ExtractSettings
    advance: Advance
    folder: Path

    @property
    def index(self) -> Path:
        """The index until it is whole."""
        return self.folder / "index.partial"

    def journal(self, after: Progress) -> contextlib.AbstractContextManager[Journal]:
        return self.state.journal(self.identity, "index", after, sync=self.settings.sync)

    def stream(self, tee: Callable[[memoryview], None] | None = None) -> TarStream:
        return TarStream(self.archive, max_inflation=self.settings.max_inflation, advance=self.advance, tee=tee)


def _index_directly(work: _Work) -> Tally:
    tar = work.archive.path
    with work.journal(Progress()) as journal, work.stream() as stream:
        tally = _index(work, tar, stream, journal, lambda: work.archive.size)
    put_file(work.index, index_of(tar))
    return tally


def _index_copy(work: _Work, tar: Path) -> Tally:
    """Write the uncompressed tar, going on where an earlier run stopped, and index it."""
    copy = tar.with_name(f".{tar.name}{PARTIAL_SUFFIX}")
    done = work.state.progress(work.identity, "index").offset
    if done and not copy.exists() and tar.exists():
        tar.replace(copy)  # killed after it got its name, before its receipt: nothing of it is written again
    if not copy.exists() or copy.stat().st_size < done:
        done = 0
    with (
        work.journal(Progress(offset=done)) as journal,
        SeekableCopy(copy, done, journal, sync=work.settings.sync) as copied,
        work.stream(copied.write) as stream,
    ):
        tally = _index(work, tar, stream, journal, lambda: copied.size)
    work.index.replace(index_of(tar))  # an index without its tar counts for nothing, so it may come first
    copy.replace(tar)
    return tally


def _index(work: _Work, tar: Path, stream: TarStream, journal: Journal, tar_size: Callable[[], int]) -> Tally:
    """Read the archive to its end and write the index; what is written is durable when this returns."""
    tally = Tally(samples=[tar.name, index_of(tar).name])
    with (
        contextlib.closing(IndexWriter(work.index)) as writer,
        FolderWriter(work.target, partial=work.state.partial_name) as folder,
    ):
        reserved = frozenset({tar.name, index_of(tar).name, REJECTS_FILE, *(file.name for file in work.archive.files)})
        IndexPass(stream, writer, folder, journal, tally, reserved).run()
        writer.finish(tar_size=tar_size(), source=work.archive.path.name)
    if work.settings.sync:
        fsync_file(work.index)
    journal.group_is_done(offset=tar_size(), members=tally.members, size=tally.bytes, rejected=tally.rejected)
    return tally


@contextlib.contextmanager
def _database_errors(target: Path) -> Iterator[None]:
    """SQLite's words for a full or broken disk, as the system would say them."""
    try:
        yield
    except sqlite3.OperationalError as error:
        code = errno.ENOSPC if error.sqlite_errorcode == sqlite3.SQLITE_FULL else errno.EIO
        raise OSError(code, str(error), str(target)) from error
