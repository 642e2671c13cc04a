"""One seekable tar and an index of it, instead of a million small files.

`NAME.tar.index` lies beside `NAME.tar`; `tar_table` is its form. Names are bytes, as the filesystem would have them.
A gzipped or split archive is inflated into `NAME.tar` once; a plain one gets the index.
"""

import contextlib
import errno
import os
import posixpath
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from isal import isal_zlib

from aurora_cli.config.settings import ExtractSettings
from aurora_cli.data.archives.index_table import Extent, TableRow, key_of, write_table
from aurora_cli.data.archives.indexed_tar import index_of, source_of
from aurora_cli.data.archives.journal import GROUP_BYTES, ExtractionState, Journal, Progress, Receipt, identity_of
from aurora_cli.data.archives.names import archive_of
from aurora_cli.data.archives.part_stream import GZIP_MAGIC
from aurora_cli.data.archives.parts import Archive
from aurora_cli.data.archives.policy import components, refusal
from aurora_cli.data.archives.tar_reader import Advance, BadArchive, Member, TarStream
from aurora_cli.errors import DataError
from aurora_cli.io.atomic import PARTIAL_SUFFIX, disk_errors, fsync_file, fsync_folder
from aurora_cli.io.durability import start_writing

_ROWS_SUFFIX = ".rows"
_BEGIN_BYTES = 8 << 20


def is_indexed_in_place(archive: Archive, target: Path) -> bool:
    """Whether the archive is itself seekable, so that only an index is missing."""
    if archive.is_split or archive.path.parent.resolve() != target.resolve():
        return False
    with open(archive.path, "rb") as file:
        return file.read(len(GZIP_MAGIC)) != GZIP_MAGIC


def build_index(archive: Archive, target: Path, *, settings: ExtractSettings, advance: Advance) -> Receipt:
    """Turn `archive` into a seekable tar with an index in `target`, and return what became of it.

    Members that `unpack` would refuse are not in the index. A broken archive's whole members are.

    Raises:
        HostError: the disk is full or cannot be written; the same call goes on from there
        UsageError: another process is at it
        DataError: another archive has the seekable tar's name
    """
    identity = identity_of(archive)
    target.mkdir(parents=True, exist_ok=True)
    state = ExtractionState(archive, target)
    in_place = is_indexed_in_place(archive, target)
    tar = archive.path if in_place else target / f"{archive.stem}.tar"
    if not in_place and tar.exists() and source_of(tar) != archive.path.name:
        raise DataError(
            f"{archive.path}: {tar} is in the way of its seekable copy", hint="Move one of them to another folder."
        )
    with state.lock(), disk_errors(target), _database_errors(target):
        if (receipt := state.finished(identity, "index")) is not None:
            return receipt
        done = state.progress(identity, "index").offset
        copy = None if in_place else tar.with_name(f".{tar.name}{PARTIAL_SUFFIX}")
        if copy is not None and done and not copy.exists() and tar.exists():
            tar.replace(copy)  # killed after it got its name, before its receipt: nothing of it is written again
        if copy is not None and (not copy.exists() or copy.stat().st_size < done):
            done = 0
        receipt = Receipt(str(archive.path), "index", identity, samples=[tar.name, index_of(tar).name])
        index = state.folder / "index.partial"
        with (
            state.journal(identity, "index", Progress(offset=done), sync=settings.sync) as journal,
            _SeekableCopy(copy, done, journal, sync=settings.sync) as copied,
            TarStream(archive, max_inflation=settings.max_inflation, advance=advance, tee=copied.write) as stream,
            contextlib.closing(_IndexWriter(index)) as writer,
        ):
            _read_members(stream, writer, journal, receipt)
            writer.finish(tar_size=archive.size if in_place else copied.size, source=archive.path.name)
            if settings.sync:
                fsync_file(index)
            journal.group_is_done(
                offset=copied.size, members=receipt.members, size=receipt.bytes, rejected=receipt.rejected
            )
        index.replace(index_of(tar))  # an index without its tar counts for nothing, so it may come first
        if copy is not None:
            copy.replace(tar)
        if settings.sync:
            fsync_folder(target)
        receipt.settings = settings.model_dump(mode="json")
        state.finish(receipt, sync=settings.sync)
    return receipt


@contextlib.contextmanager
def _database_errors(target: Path) -> Iterator[None]:
    """SQLite's words for a full or broken disk, as the system would say them."""
    try:
        yield
    except sqlite3.OperationalError as error:
        code = errno.ENOSPC if error.sqlite_errorcode == sqlite3.SQLITE_FULL else errno.EIO
        raise OSError(code, str(error), str(target)) from error


def _read_members(stream: TarStream, writer: "_IndexWriter", journal: Journal, receipt: Receipt) -> None:
    def reject(name: str, offset: int, reason: str) -> None:
        receipt.rejected += 1
        journal.reject({"archive": receipt.archive, "member": name, "offset": offset, "reason": reason})

    try:
        for member in stream.members():
            reason = refusal(member, root_bytes=0)
            if reason is None and member.kind != "folder":
                reason = _index_member(member, stream, writer, receipt)
            if reason is not None:
                reject(member.name, member.start, reason)
    except BadArchive as error:
        receipt.broken = error.message
    for name, offset, reason in writer.resolve_links():
        reject(name, offset, reason)
        receipt.members -= 1
    receipt.duplicates = writer.duplicates


def _index_member(member: Member, stream: TarStream, writer: "_IndexWriter", receipt: Receipt) -> str | None:
    """Note where a member lies, or say why it is nowhere."""
    name = "/".join(components(member.name))
    if archive_of(posixpath.basename(name)) is not None:
        receipt.nested.append(name)
    if member.kind == "file":
        crc = 0
        for piece in stream.pieces(member.size):
            crc = isal_zlib.crc32(piece, crc)
        writer.add(name, Extent(member.data, member.size, crc))
        receipt.bytes += member.size
    elif member.kind == "hardlink":
        to = "/".join(components(member.link))
        if (extent := writer.find(to)) is None:  # a hard link is to what the name stands for here, not in the end
            return f"links to {to!r}, which is no file of the archive so far"
        writer.add(name, extent)
    else:
        to = posixpath.normpath(posixpath.join(posixpath.dirname(name), member.link))
        writer.link(name, "/".join(components(to)), member.start)
    receipt.members += 1
    return None


class _SeekableCopy:
    """The uncompressed tar as it is read, durable in groups; what an earlier run wrote is not written again.

    Without a path it only counts.
    """

    def __init__(self, path: Path | None, done: int, journal: Journal, *, sync: bool) -> None:
        self._file = None if path is None else open(path, "r+b" if done else "wb", buffering=0)  # noqa: SIM115
        if self._file is not None:
            self._file.truncate(done)
            self._file.seek(done)
        self.size = 0
        self._done, self._durable, self._journal = done, done, journal
        self._sync, self._begun = sync, done

    def __enter__(self) -> "_SeekableCopy":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, content: memoryview) -> None:
        fresh = content[max(self._done - self.size, 0) :]
        self.size += len(content)
        if self._file is None:
            return
        while fresh:
            fresh = fresh[self._file.write(fresh) :]
        if self._sync and self.size - self._begun >= _BEGIN_BYTES:
            start_writing(self._file.fileno(), self._begun, self.size - self._begun)
            self._begun = self.size
        if self.size - self._durable >= GROUP_BYTES:
            self._durable = self.size
            self._journal.group_is_done(offset=self.size, members=0, size=0, rejected=0)


class _IndexWriter:
    """Collects rows in an SQLite file beside the index, so that memory does not grow, and writes the index from it.

    A crash leaves files that the next run replaces.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._rows_path = path, path.with_name(path.name + _ROWS_SUFFIX)
        self._rows_path.unlink(missing_ok=True)
        self._db = sqlite3.connect(self._rows_path, isolation_level=None)
        self._db.executescript(
            "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-32768;"
            "CREATE TABLE member (key INTEGER, name BLOB, offset INTEGER, size INTEGER, crc32 INTEGER,"
            " PRIMARY KEY (key, name)) WITHOUT ROWID; BEGIN"
        )
        self._links: dict[str, tuple[str, int]] = {}
        self.duplicates = 0

    def add(self, name: str, extent: Extent) -> None:
        if self._links.pop(name, None) is not None:
            self.duplicates += 1
        if not self._put("INSERT OR IGNORE", name, extent):
            self.duplicates += 1
            self._put("REPLACE", name, extent)

    def _put(self, verb: str, name: str, extent: Extent) -> int:
        raw = os.fsencode(name)
        return self._db.execute(f"{verb} INTO member VALUES (?, ?, ?, ?, ?)", (key_of(raw), raw, *extent)).rowcount

    def find(self, name: str) -> Extent | None:
        query = "SELECT offset, size, crc32 FROM member WHERE key = ? AND name = ?"
        raw = os.fsencode(name)
        row = self._db.execute(query, (key_of(raw), raw)).fetchone()
        return None if row is None else Extent(*row)

    def link(self, name: str, to: str, offset: int) -> None:
        raw = os.fsencode(name)
        self.duplicates += self._db.execute(
            "DELETE FROM member WHERE key = ? AND name = ?", (key_of(raw), raw)
        ).rowcount
        self.duplicates += name in self._links
        self._links[name] = to, offset

    def resolve_links(self) -> Iterator[tuple[str, int, str]]:
        """Give symbolic links their files' extents; yields (name, header's offset, reason) where there is none."""
        for name, (to, offset) in list(self._links.items()):
            seen = {name}
            while to in self._links and to not in seen:
                seen.add(to)
                to = self._links[to][0]
            if (extent := self.find(to)) is None:
                yield name, offset, f"links to {to!r}, which is no file of the archive"
            else:
                self._put("REPLACE", name, extent)

    def finish(self, *, tar_size: int, source: str) -> None:
        count, name_bytes = self._db.execute("SELECT count(*), coalesce(sum(length(name)), 0) FROM member").fetchone()
        rows = self._db.execute("SELECT key, name, offset, size, crc32 FROM member ORDER BY key, name")
        about = {"tar_size": str(tar_size), "source": source}
        write_table(self._path, map(TableRow._make, rows), count=count, name_bytes=name_bytes, about=about)

    def close(self) -> None:
        self._db.close()
        self._rows_path.unlink()
