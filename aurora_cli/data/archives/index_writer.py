"""Rows of an index as its archive is read, and the index from them."""

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from aurora_cli.data.archives.index_table import Extent, TableRow, key_of, write_table

_ROWS_SUFFIX = ".rows"


class IndexWriter:
    """Collects rows in an SQLite file beside the index, so that memory does not grow, and writes the index from it.

    A crash leaves files that the next run replaces.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._rows_path = path, path.with_name(path.name + _ROWS_SUFFIX)
        self._rows_path.unlink(missing_ok=True)
        # nolock: the archive is held already, and a shared disk need not offer the locks that SQLite asks for.
        address = f"file:{quote(os.fsencode(self._rows_path.absolute()))}?nolock=1"
        self._db = sqlite3.connect(address, uri=True, isolation_level=None)
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
