"""Images and videos by the path that a record names: from folders, from indexed archives, or from several of them."""

import contextlib
import errno
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path

from aurora_cli.data.archives.index_table import Extent
from aurora_cli.data.archives.indexed_tar import INDEX_SUFFIX, IndexedTar, index_of
from aurora_cli.errors import DataError

_NO_SUCH_FILE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)
_REMEMBERED = 10_000


class MissingMedia(DataError):
    """A record names an image or video that is nowhere."""


class MediaRoot:
    """Where the media of an annotation file are. May be pickled, and shared by threads and forked processes.

    A root is a folder, or a tar with an index; of several, the first that has a path counts. `extract` puts members
    into the folder that an archive lies in, and an index stands for the same: member `a/b.jpg` of
    `<folder>/images/x.tar` is found as `images/a/b.jpg`. A real file goes before a member of the same path.
    """

    def __init__(self, *roots: Path) -> None:
        self._roots = roots
        self._places = [_Archive(root) if root.name and index_of(root).is_file() else _Folder(root) for root in roots]

    @property
    def folder(self) -> Path:
        """The first root, or the folder that it lies in: what paths are relative to in messages."""
        return self._places[0].folder

    def __getstate__(self) -> tuple[Path, ...]:
        return self._roots

    def __setstate__(self, state: tuple[Path, ...]) -> None:
        self.__init__(*state)

    def read(self, path: str) -> bytes:
        """The bytes of an image or video.

        Raises:
            MissingMedia: there is no such file or member
            DataError: a file cannot be read, or an archive changed after it was indexed
        """
        for place in self._places:
            if (content := place.read(path)) is not None:
                return content
        raise self._missing(path)

    def local_path(self, path: str) -> Path | None:
        """A real file for decoders that need one; none if the bytes lie inside an archive.

        Raises:
            MissingMedia: there is no such file or member
        """
        for place in self._places:
            if (file := place.file(path)) is not None:
                return file
            if place.has_member(path):
                return None
        raise self._missing(path)

    def exists(self, path: str) -> bool:
        return any(place.file(path) is not None or place.has_member(path) for place in self._places)

    def files_in(self, path: str) -> list[str] | None:
        """The names of the files right in a folder, sorted: a video's frames. None: there is no such folder."""
        found = None
        for place in self._places:
            if names := place.files_in(path):
                return names
            found = names if found is None else found
        return found

    def _missing(self, path: str) -> MissingMedia:
        return MissingMedia(f"{self.folder / path}: there is no such file, and no such member of an indexed archive")


class _Archive:
    """One tar with its index."""

    def __init__(self, tar: Path) -> None:
        self.folder = tar.parent
        self._tar = _open(tar)

    def read(self, path: str) -> bytes | None:
        extent = self._find(path)
        return None if extent is None else self._tar.read(extent)

    def file(self, path: str) -> Path | None:
        return None

    def has_member(self, path: str) -> bool:
        return self._find(path) is not None

    def files_in(self, path: str) -> list[str] | None:
        return self._tar.files_in(_normal(path)) or None

    def _find(self, path: str) -> Extent | None:
        return self._tar.find(path) or self._tar.find(_normal(path))


class _Folder:
    """A folder of files and of indexed tars."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._indexes: dict[str, list[IndexedTar]] = {}
        self._not_there: set[str] = set()
        """Folders that do not exist: a path in them is a member's, without asking the system again."""

    def read(self, path: str) -> bytes | None:
        below = path.rpartition("/")[0]
        if below not in self._not_there:
            try:
                with open(os.path.join(self.folder, path), "rb", buffering=0) as file:  # noqa: PTH118  (3 times as fast)
                    return file.readall()
            except ValueError:  # a NUL in the path
                return None
            except OSError as error:
                if error.errno not in _NO_SUCH_FILE:
                    raise DataError(f"{self.folder / path}: cannot be read: {error.strerror}") from error
                self._remember(below)
        found = self._member(path)
        return None if found is None else found[0].read(found[1])

    def _remember(self, below: str) -> None:
        if not os.path.lexists(self.folder / below):
            if len(self._not_there) >= _REMEMBERED:
                self._not_there.clear()
            self._not_there.add(below)

    def file(self, path: str) -> Path | None:
        file = self.folder / path
        try:
            return file if file.is_file() else None
        except (OSError, ValueError):  # a path that is too long, or holds a NUL
            return None

    def has_member(self, path: str) -> bool:
        return self._member(path) is not None

    def files_in(self, path: str) -> list[str] | None:
        found = None
        with contextlib.suppress(OSError, ValueError), os.scandir(self.folder / path) as entries:
            found = sorted(entry.name for entry in entries if entry.is_file())
        if not found:
            for archive, below in self._archives_on_the_way(path, with_itself=True):
                if names := archive.files_in(below):
                    return names
        return found

    def _member(self, path: str) -> tuple[IndexedTar, Extent] | None:
        for archive in self._indexes_in(""):
            if (extent := archive.find(path)) is not None:
                return archive, extent
        for archive, below in self._archives_on_the_way(path):
            if (extent := archive.find(below)) is not None:
                return archive, extent
        return None

    def _archives_on_the_way(self, path: str, *, with_itself: bool = False) -> Iterator[tuple[IndexedTar, str]]:
        """The archives in every folder on the way to a path, each with the rest of the path."""
        normal = _normal(path)
        steps = normal.split("/") if normal else []
        if path.startswith("/") or steps[:1] == [".."]:
            return
        for depth in range(len(steps) + with_itself):
            for archive in self._indexes_in("/".join(steps[:depth])):
                yield archive, "/".join(steps[depth:])

    def _indexes_in(self, below: str) -> list[IndexedTar]:
        if below not in self._indexes:
            tars = [index.with_suffix("") for index in sorted((self.folder / below).glob(f"*.tar{INDEX_SUFFIX}"))]
            self._indexes[below] = [_open(tar) for tar in tars if tar.is_file()]
        return self._indexes[below]


def _normal(path: str) -> str:
    normal = posixpath.normpath(path)
    return "" if normal == "." else normal


def _open(tar: Path) -> IndexedTar:
    try:
        return IndexedTar(tar)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{index_of(tar)}: is no index that this version can read",
            hint=f"Remove it and run `aurora extract --layout index {tar}`.",
        ) from error
