"""What training looks media up in, where it lies in a bucket: a folder of objects, or an indexed tar."""

import posixpath
from typing import Literal

from aurora_cli.data.archives.index_table import Extent
from aurora_cli.data.archives.remote_tar import RemoteTar
from aurora_cli.io.urls import join
from aurora_cli.storage.client import check_folder
from aurora_cli.storage.objects import list_objects, read_pieces, stat_if_there


class StoredArchive:
    """One tar with its index. Its members are read by range."""

    def __init__(self, url: str) -> None:
        self.folder = url
        self._tar = RemoteTar(url)

    def locate(self, path: str) -> Literal["indexed"] | None:
        return "indexed" if self._find(path) is not None or self.files_in(path) else None

    def open(self, path: str) -> bytes | None:
        return self.read(path)

    def read(self, path: str) -> bytes | None:
        extent = self._find(path)
        return None if extent is None else b"".join(self._tar.pieces(extent))

    def version(self, path: str) -> str | None:
        extent = self._find(path)
        return None if extent is None else f"{self._tar.version}:{extent.offset}:{extent.size}:{extent.crc32}"

    def files_in(self, path: str) -> list[str] | None:
        target = below(path)
        return None if target is None else self._tar.files_in(target) or None

    def _find(self, path: str) -> Extent | None:
        target = below(path)
        return None if target is None else self._tar.find(target)


class StoredFolder:
    """Objects below a folder's URL. Each look is a request."""

    def __init__(self, url: str) -> None:
        check_folder(url)
        self.folder = url

    def locate(self, path: str) -> Literal["file", "folder"] | None:
        if self.version(path) is not None:
            return "file"
        return "folder" if self.files_in(path) else None

    def open(self, path: str) -> bytes | None:
        return self.read(path)

    def read(self, path: str) -> bytes | None:
        url = self._url(path)
        if url is None or (known := stat_if_there(url)) is None:
            return None
        return b"".join(read_pieces(url, 0, known.size))

    def version(self, path: str) -> str | None:
        url = self._url(path)
        known = None if url is None else stat_if_there(url)
        return None if known is None else f"{known.version}:{known.size}"

    def files_in(self, path: str) -> list[str] | None:
        url = self._url(path)
        return None if url is None else [name for name in list_objects(url) if "/" not in name] or None

    def _url(self, path: str) -> str | None:
        target = below(path)
        return None if target is None else join(self.folder, target)


def below(path: str) -> str | None:
    """A path as names in a bucket have it; none: it leads out of the folder.

    >>> [below(path) for path in ("./a//b.jpg", "a/../b", "../x", "/x", ".")]
    ['a/b.jpg', 'b', None, None, '']
    """
    target = posixpath.normpath(path)
    if target.startswith(("/", "../")) or target == "..":
        return None
    return "" if target == "." else target
