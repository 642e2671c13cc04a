"""Images and videos by the path that a record names: from folders, from indexed archives, or from several of them."""

import contextlib
import errno
import os
import shlex
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias

from aurora_cli.data.archives.index_table import Extent
from aurora_cli.data.archives.indexed_tar import INDEX_SUFFIX, IndexedTar, index_of
from aurora_cli.data.media.errors import MissingMedia
from aurora_cli.data.media.remote.sources import StoredArchive, StoredFolder
from aurora_cli.errors import DataError
from aurora_cli.io.data_uri import image_in, is_data_uri, shown
from aurora_cli.io.file_version import version_of
from aurora_cli.storage.errors import shown as url_shown

Location: TypeAlias = Literal["file", "folder", "indexed"]
"""Where a medium is: a file, a folder of frames, or - a member or a folder of frames - in an indexed archive."""

_NO_SUCH_FILE = (errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP)
_REMEMBERED = 10_000


class MediaRoot:
    """Where the media of an annotation file are. May be pickled, and shared by threads and forked processes.

    A root is a folder, a tar with an index, or the URL of either in a bucket; of several, the first that has a path
    counts. `extract` puts members into the folder that an archive lies in, and an index stands for the same: member
    `a/b.jpg` of `<folder>/images/x.tar` is found as `images/a/b.jpg`. A real file goes before a member of its path.
    Paths are taken as they are written (`a/../b` is `b`); only real files are found above a root. An image that is
    written out as a `data:` address is its own file.
    """

    def __init__(self, *roots: Path | str) -> None:
        """Texts are URLs."""
        self._roots = roots
        self._sources = [_source(root) for root in roots]

    @property
    def folder(self) -> Path | str:
        """The first root, or the folder that it lies in: what paths are relative to in messages."""
        return self._sources[0].folder

    def __getstate__(self) -> tuple[Path | str, ...]:
        return self._roots

    def __setstate__(self, state: tuple[Path | str, ...]) -> None:
        self.__init__(*state)

    def locate(self, path: str) -> Location | None:
        """Where the medium of a record is: an image, a video, or a folder with frames in it. None: nowhere."""
        if is_data_uri(path):
            return "file" if image_in(path) is not None else None
        return next((found for source in self._sources if (found := source.locate(path)) is not None), None)

    def open(self, path: str) -> Path | bytes:
        """An image or video for decoders that read files: its path, or its bytes where they lie inside an archive.

        Raises:
            MissingMedia: there is no such file or member
            DataError: an archive changed after it was indexed
        """
        if is_data_uri(path):
            return self.read(path)
        for source in self._sources:
            if (found := source.open(path)) is not None:
                return found
        raise self._missing(path)

    def read(self, path: str) -> bytes:
        """The bytes of an image or video.

        Raises:
            MissingMedia: there is no such file or member
            DataError: a file cannot be read, or an archive changed after it was indexed
        """
        if is_data_uri(path) and (image := image_in(path)) is not None:
            return image
        for source in self._sources:
            if (content := source.read(path)) is not None:
                return content
        raise self._missing(path)

    def version(self, path: str) -> str | None:
        """What changes when somebody changes the image or video, which is not read. None: there is no such file.

        Of what is written out as a `data:` address, the address says it.
        """
        if is_data_uri(path):
            return ""
        return next((found for source in self._sources if (found := source.version(path)) is not None), None)

    def files_in(self, path: str) -> list[str] | None:
        """The names of the files right in a folder, sorted: a video's frames. None: there is no such folder.

        An archive knows of folders by what is in them: one without files is none.
        """
        found = None
        for source in self._sources:
            if names := source.files_in(path):
                return names
            found = names if found is None else found
        return found

    def _missing(self, path: str) -> MissingMedia:
        if is_data_uri(path):
            return MissingMedia(f"{shown(path)}: holds no image in base64")
        if isinstance(self.folder, str):
            return MissingMedia(f"{url_shown(self.folder)}: has no {path}")
        return MissingMedia(f"{self.folder / path}: there is no such file, and no such member of an indexed archive")


def check_root(root: Path, setting: str) -> None:
    """
    Raises:
        DataError: not one medium could be found there, for it is neither a folder nor a tar with an index.
    """
    if root.is_dir() or (root.name and index_of(root).is_file()):
        return
    if root.is_file():
        hint = f"aurora extract --layout index {shlex.quote(str(root))}" if root.suffix == ".tar" else None
        raise DataError(f"{setting}: {root}: is neither a folder nor a tar with an index", hint=hint)
    raise DataError(f"{setting}: {root}: there is no such folder, and no such indexed archive")


def _source(root: Path | str) -> "_Archive | _Folder | StoredArchive | StoredFolder":
    if isinstance(root, str):
        return StoredArchive(root) if root.lower().endswith(".tar") else StoredFolder(root)
    return _Archive(root) if root.name and index_of(root).is_file() else _Folder(root)


class _Archive:
    """One tar with its index."""

    def __init__(self, tar: Path) -> None:
        self.folder = tar.parent
        self._absolute = os.path.abspath(self.folder)  # noqa: PTH100  (a path's text, without following links)
        self._tar = _open(tar)

    def locate(self, path: str) -> Location | None:
        return "indexed" if self._find(path) is not None or self.files_in(path) else None

    def open(self, path: str) -> bytes | None:
        return self.read(path)

    def read(self, path: str) -> bytes | None:
        extent = self._find(path)
        return None if extent is None else self._tar.read(extent)

    def version(self, path: str) -> str | None:
        extent = self._find(path)
        return None if extent is None else self._tar.version(extent)

    def files_in(self, path: str) -> list[str] | None:
        target = _resolved(self._absolute, path)
        return None if target is None else self._tar.files_in(target) or None

    def _find(self, path: str) -> Extent | None:
        target = _resolved(self._absolute, path)
        return None if target is None else self._tar.find(target)


class _Folder:
    """A folder of files and of indexed tars."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._absolute = os.path.abspath(folder)  # noqa: PTH100  (a path's text, without following links)
        self._indexes: dict[str, list[IndexedTar]] = {}
        self._not_there: set[str] = set()
        """Folders that do not exist: a path in them is a member's, without asking the system again."""

    def locate(self, path: str) -> Location | None:
        target = _resolved(self._absolute, path)
        if target is None:
            return None
        if self._is_file(target):
            return "file"
        if self._member(target) is not None:
            return "indexed"
        if self._real_files_in(target):
            return "folder"
        return "indexed" if self._members_in(target) else None

    def open(self, path: str) -> Path | bytes | None:
        target = _resolved(self._absolute, path)
        if target is None:
            return None
        return self.folder / target if self._is_file(target) else self._read_member(target)

    def read(self, path: str) -> bytes | None:
        target = _resolved(self._absolute, path)
        if target is None:
            return None
        if not self._is_known_to_be_nowhere(target):
            try:
                with open(os.path.join(self.folder, target), "rb", buffering=0) as file:  # noqa: PTH118  (3 times as fast)
                    return file.readall()
            except OSError as error:
                if error.errno not in _NO_SUCH_FILE:
                    raise DataError(f"{self.folder / path}: cannot be read: {error.strerror}") from error
                self._remember(target)
        return self._read_member(target)

    def version(self, path: str) -> str | None:
        target = _resolved(self._absolute, path)
        if target is None:
            return None
        if not self._is_known_to_be_nowhere(target):
            try:
                status = os.stat(os.path.join(self.folder, target))  # noqa: PTH116, PTH118  (as in read)
                if stat.S_ISREG(status.st_mode):
                    return version_of(status)
            except OSError:
                self._remember(target)
        found = self._member(target)
        return None if found is None else found[0].version(found[1])

    def files_in(self, path: str) -> list[str] | None:
        target = _resolved(self._absolute, path)
        if target is None:
            return None
        found = self._real_files_in(target)
        return found or self._members_in(target) or found

    def _is_file(self, target: str) -> bool:
        if self._is_known_to_be_nowhere(target):
            return False
        try:
            if os.path.isfile(os.path.join(self.folder, target)):  # noqa: PTH113, PTH118  (as in read)
                return True
        except OSError:  # a path that is too long
            return False
        self._remember(target)
        return False

    def _is_known_to_be_nowhere(self, target: str) -> bool:
        return target.rpartition("/")[0] in self._not_there

    def _remember(self, target: str) -> None:
        above = target.rpartition("/")[0]
        if not os.path.lexists(self.folder / above):
            if len(self._not_there) >= _REMEMBERED:
                self._not_there.clear()
            self._not_there.add(above)

    def _real_files_in(self, target: str) -> list[str] | None:
        with contextlib.suppress(OSError), os.scandir(self.folder / target) as entries:
            return sorted(entry.name for entry in entries if entry.is_file())
        return None

    def _read_member(self, target: str) -> bytes | None:
        found = self._member(target)
        return None if found is None else found[0].read(found[1])

    def _member(self, target: str) -> tuple[IndexedTar, Extent] | None:
        for archive in self._indexes_in(""):  # most have no other: without taking the path apart
            if (extent := archive.find(target)) is not None:
                return archive, extent
        for archive, below in self._archives_on_the_way(target):
            if (extent := archive.find(below)) is not None:
                return archive, extent
        return None

    def _members_in(self, target: str) -> list[str]:
        """The members right in a folder, of all archives that were indexed on the way to it."""
        archives = self._archives_on_the_way(target, with_itself=True)
        return sorted({name for archive, below in archives for name in archive.files_in(below)})

    def _archives_on_the_way(self, target: str, *, with_itself: bool = False) -> Iterator[tuple[IndexedTar, str]]:
        """The archives in every folder on the way to a path, each with the rest of the path."""
        if target.startswith("/"):
            return
        steps = target.split("/") if target else []
        for depth in range(len(steps) + with_itself):
            for archive in self._indexes_in("/".join(steps[:depth])):
                yield archive, "/".join(steps[depth:])

    def _indexes_in(self, below: str) -> list[IndexedTar]:
        if below not in self._indexes:
            tars: list[Path] = []
            with contextlib.suppress(OSError):  # a path that is too long
                tars = [index.with_suffix("") for index in sorted((self.folder / below).glob(f"*.tar{INDEX_SUFFIX}"))]
            self._indexes[below] = [_open(tar) for tar in tars if tar.is_file()]
        return self._indexes[below]


def _resolved(folder: str, path: str) -> str | None:
    """A path from `folder` on, or an absolute one if it leads elsewhere; none: no file can be called so.

    >>> [_resolved("/data", path) for path in ("./a//b.jpg", "a/../b/", "/data/b", "../x", "", "a\\0b")]
    ['a/b.jpg', 'b', 'b', '/x', '', None]
    """
    try:
        if b"\0" in os.fsencode(path):
            return None
    except UnicodeEncodeError:  # half of a surrogate pair, as JSON can spell it
        return None
    if path[:1] != "/" and ".." not in path:
        normal = os.path.normpath(path)
        return "" if normal == "." else normal
    whole = os.path.normpath(f"{folder}/{path}" if path[:1] != "/" else path)
    if whole == folder:
        return ""
    return whole[len(folder) + 1 :] if whole.startswith(f"{folder}/") else whole


def _open(tar: Path) -> IndexedTar:
    try:
        return IndexedTar(tar)
    except (OSError, ValueError) as error:
        raise DataError(
            f"{index_of(tar)}: is no index that this version can read",
            hint=f"Remove it and run `aurora extract --layout index {tar}`.",
        ) from error
