"""A tar in a bucket with its index, read by name, in place: a member costs its own bytes.

The index beside it is copied here once and mapped, as that of a tar on a disk is.
"""

import os
from collections.abc import Iterator
from functools import lru_cache

from isal import isal_zlib

from aurora_cli.console import SILENT, Reporter
from aurora_cli.data.archives.index_table import Extent, TarTable
from aurora_cli.data.archives.indexed_tar import INDEX_SUFFIX
from aurora_cli.errors import DataError
from aurora_cli.io.urls import name_of
from aurora_cli.storage.copies import local_copy
from aurora_cli.storage.errors import shown
from aurora_cli.storage.objects import read_pieces, stat


class RemoteTar:
    """Threads may share one.

    Raises:
        DataError: one of the two objects is not there, or they do not go together
        HostError: the store cannot be reached, or does not let us
    """

    def __init__(self, url: str, reporter: Reporter = SILENT) -> None:
        self.url = url
        size, self.version = stat(url)
        index = local_copy(url + INDEX_SUFFIX, reporter)
        hint = f"Run `aurora extract --layout index {name_of(url)}` where the archive lies, and upload both."
        try:
            self._table = TarTable(index)
        except ValueError as error:
            raise DataError(f"{shown(url)}{INDEX_SUFFIX}: is no index", hint=hint) from error
        if self._table.about.get("tar_size") != str(size):
            indexed = self._table.about.get("tar_size", "an unknown number of")
            raise DataError(f"{shown(url)}: has {size:,} bytes, its index is of one with {indexed}", hint=hint)

    def __reduce__(self) -> tuple[object, ...]:
        return _opened, (self.url,)

    def find(self, name: str) -> Extent | None:
        return self._table.find(os.fsencode(name))

    def files_in(self, folder: str) -> list[str]:
        """Names, without the folder's, of the members right in a folder, sorted."""
        return sorted(map(os.fsdecode, self._table.files_in(os.fsencode(folder))))

    def pieces(self, extent: Extent) -> Iterator[bytes]:
        """A member's bytes.

        Raises:
            DataError: after the last, the tar is not what was indexed
            HostError: the store cannot be reached, or does not let us
        """
        check = 0
        for piece in read_pieces(self.url, extent.offset, extent.offset + extent.size):
            check = isal_zlib.crc32(piece, check)
            yield piece
        if check != extent.crc32:
            raise DataError(
                f"{shown(self.url)}: {extent.size:,} bytes at {extent.offset:,} are not what was indexed",
                hint="Upload the archive and its index again.",
            )


@lru_cache(maxsize=16)
def _opened(url: str) -> RemoteTar:
    """In a process that is handed members one by one."""
    return RemoteTar(url)
