"""A tar with its index, read by name."""

import contextlib
import os
from functools import lru_cache
from pathlib import Path

from isal import isal_zlib

from aurora_cli.data.archives.index_table import Extent, TarTable
from aurora_cli.errors import DataError
from aurora_cli.io.file_version import version_of

INDEX_SUFFIX = ".index"


def index_of(tar: Path) -> Path:
    return tar.with_name(tar.name + INDEX_SUFFIX)


def source_of(tar: Path) -> str | None:
    """The name of the archive whose members the indexed `tar` holds; none: `tar` has no index, or not its own."""
    with contextlib.suppress(OSError, ValueError):
        about = TarTable(index_of(tar)).about
        if about["tar_size"] == str(tar.stat().st_size):
            return about["source"]
    return None


class IndexedTar:
    """A tar with its index, read by name. Threads and forked processes may share one.

    Raises:
        OSError: one of the two is not there
        ValueError: the index is none
    """

    def __init__(self, tar: Path) -> None:
        self.tar = tar
        self.table = TarTable(index_of(tar))
        self._file = os.open(tar, os.O_RDONLY | os.O_CLOEXEC)
        self._size = os.fstat(self._file).st_size

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    def __reduce__(self) -> tuple[object, ...]:
        return _opened, (self.tar,)

    def find(self, name: str) -> Extent | None:
        return self.table.find(os.fsencode(name))

    def version(self, extent: Extent) -> str:
        """What tells a member from what it is in another archive, or in this one after a change. Reads none of it."""
        return f"{version_of(os.fstat(self._file))}:{extent.offset}:{extent.size}:{extent.crc32}"

    def files_in(self, folder: str) -> list[str]:
        """Names, without the folder's, of the members right in a folder, sorted."""
        return sorted(map(os.fsdecode, self.table.files_in(os.fsencode(folder))))

    def read(self, extent: Extent) -> bytes:
        """A member's bytes.

        Raises:
            DataError: the tar is not what was indexed
        """
        offset, size, crc = extent
        content = os.pread(self._file, size, offset) if 0 <= offset <= offset + size <= self._size else b""
        while 0 < len(content) < size:  # one call reads 2 GiB at most
            more = os.pread(self._file, size - len(content), offset + len(content))
            if not more:
                break
            content += more
        if isal_zlib.crc32(content) != crc or len(content) != size:
            raise DataError(
                f"{self.tar}: {size:,} bytes at {offset:,} are not what was indexed",
                hint=f"Remove {index_of(self.tar).name} and run `aurora extract --layout index` again.",
            )
        return content


@lru_cache(maxsize=16)
def _opened(tar: Path) -> IndexedTar:
    """In a process that is handed members one by one."""
    return IndexedTar(tar)
