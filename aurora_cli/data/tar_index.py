"""One seekable tar and an index of it, instead of a million small files.

`NAME.tar.index` is an SQLite table `member(name, offset, size, crc32)` beside `NAME.tar`. Names are bytes, as the
filesystem would have them. A gzipped or split archive is inflated into `NAME.tar` once; a plain one gets the index.
"""

import contextlib
import os
import posixpath
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from isal import isal_zlib

from aurora_cli.config.settings import ExtractSettings
from aurora_cli.console import Advance
from aurora_cli.data.member_policy import components, refusal
from aurora_cli.data.part_names import archive_of
from aurora_cli.data.parts import GZIP_MAGIC, Archive
from aurora_cli.data.receipts import GROUP_BYTES, ExtractionState, Journal, Progress, Receipt, identity_of
from aurora_cli.data.tar_stream import BadArchive, Member, TarStream
from aurora_cli.errors import DataError
from aurora_cli.files import PARTIAL_SUFFIX, disk_errors, fsync_file, fsync_folder

INDEX_SUFFIX = ".index"
_SCHEMA = """
CREATE TABLE member (
    name BLOB PRIMARY KEY, offset INTEGER NOT NULL, size INTEGER NOT NULL, crc32 INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE about (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
"""


def index_of(tar: Path) -> Path:
    return tar.with_name(tar.name + INDEX_SUFFIX)


def source_of(tar: Path) -> str | None:
    """The name of the archive whose members the indexed `tar` holds; none: `tar` has no index, or not its own."""
    if not index_of(tar).is_file():
        return None
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_open_index(tar)) as db:
        about = dict(db.execute("SELECT key, value FROM about"))
        if about.get("tar_size") == tar.stat().st_size:
            return about.get("source")
    return None


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
    with state.lock(), disk_errors(target):
        if (receipt := state.finished(identity, "index")) is not None:
            return receipt
        done = state.progress(identity, "index").offset
        copy = None if in_place else tar.with_name(f".{tar.name}{PARTIAL_SUFFIX}")
        if copy is not None and (not copy.exists() or copy.stat().st_size < done):
            done = 0
        receipt = Receipt(str(archive.path), "index", identity, samples=[tar.name, index_of(tar).name])
        index = state.folder / "index.partial"
        with (
            state.journal(identity, "index", Progress(offset=done), sync=settings.sync) as journal,
            _SeekableCopy(copy, done, journal) as copied,
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

    def __init__(self, path: Path | None, done: int, journal: Journal) -> None:
        self._file = None if path is None else open(path, "r+b" if done else "wb", buffering=0)  # noqa: SIM115
        if self._file is not None:
            self._file.truncate(done)
            self._file.seek(done)
        self.size = 0
        self._done, self._durable, self._journal = done, done, journal

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
        if self.size - self._durable >= GROUP_BYTES:
            self._durable = self.size
            self._journal.group_is_done(offset=self.size, members=0, size=0, rejected=0)


class Extent(NamedTuple):
    """Where a member's bytes lie in its tar."""

    offset: int
    size: int
    crc32: int


class _IndexWriter:
    """Fills an index file in one transaction; a crash leaves a file that the next run replaces."""

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;" + _SCHEMA)
        self._db.execute("BEGIN")
        self._links: dict[str, tuple[str, int]] = {}
        self.duplicates = 0

    def add(self, name: str, extent: Extent) -> None:
        row = (os.fsencode(name), *extent)
        if self._links.pop(name, None) is not None:
            self.duplicates += 1
        if self._db.execute("INSERT OR IGNORE INTO member VALUES (?, ?, ?, ?)", row).rowcount == 0:
            self.duplicates += 1
            self._db.execute("REPLACE INTO member VALUES (?, ?, ?, ?)", row)

    def find(self, name: str) -> Extent | None:
        query = self._db.execute("SELECT offset, size, crc32 FROM member WHERE name = ?", (os.fsencode(name),))
        row = query.fetchone()
        return None if row is None else Extent(*row)

    def link(self, name: str, to: str, offset: int) -> None:
        self._db.execute("DELETE FROM member WHERE name = ?", (os.fsencode(name),))
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
                self._db.execute("REPLACE INTO member VALUES (?, ?, ?, ?)", (os.fsencode(name), *extent))

    def finish(self, *, tar_size: int, source: str) -> None:
        self._db.execute("INSERT INTO about VALUES ('tar_size', ?), ('source', ?)", (tar_size, source))
        self._db.execute("COMMIT")

    def close(self) -> None:
        self._db.close()


class IndexedTar:
    """A tar with its index, read by name. Threads and forked processes may share one."""

    def __init__(self, tar: Path) -> None:
        self.tar = tar
        self._file = os.open(tar, os.O_RDONLY | os.O_CLOEXEC)
        self._local = threading.local()

    def __del__(self) -> None:
        os.close(self._file)

    def find(self, name: str) -> Extent | None:
        query = self._db().execute("SELECT offset, size, crc32 FROM member WHERE name = ?", (os.fsencode(name),))
        row = query.fetchone()
        return None if row is None else Extent(*row)

    def read(self, extent: Extent) -> bytes:
        """A member's bytes.

        Raises:
            DataError: the tar is not what was indexed
        """
        content = os.pread(self._file, extent.size, extent.offset)
        while len(content) < extent.size:  # one call reads 2 GiB at most
            more = os.pread(self._file, extent.size - len(content), extent.offset + len(content))
            if not more:
                break
            content += more
        if isal_zlib.crc32(content) != extent.crc32 or len(content) != extent.size:
            raise DataError(
                f"{self.tar}: {extent.size:,} bytes at {extent.offset:,} are not what was indexed",
                hint=f"Remove {index_of(self.tar).name} and run `aurora extract --layout index` again.",
            )
        return content

    def names(self) -> Iterator[str]:
        """Every member's path, in the order of its bytes."""
        for (name,) in self._db().execute("SELECT name FROM member ORDER BY name"):
            yield os.fsdecode(name)

    def _db(self) -> sqlite3.Connection:
        """SQLite's connections must not cross threads or forks: each gets its own."""
        if getattr(self._local, "pid", None) != os.getpid():
            self._local.db = _open_index(self.tar)
            self._local.pid = os.getpid()
        return self._local.db


def _open_index(tar: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{index_of(tar).absolute().as_uri()}?immutable=1", uri=True)
