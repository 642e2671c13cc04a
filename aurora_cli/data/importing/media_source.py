"""Where the media of a source are, and under which path a record names each.

Records name media below `.media`, a folder beside them. In it stands one link to each folder of media (or a copy of
what is used of it): a link costs the same for ten images and for ten million, works across disks, and the media keep
their names. The dot keeps `aurora extract` and `aurora merge-tars`, which search data/ to its bottom and follow links,
out of somebody else's folders.
"""

import os
import posixpath
import re
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Protocol

from aurora_cli.data.annotations.paths import local_path
from aurora_cli.data.importing.listing import Listings, found_at
from aurora_cli.data.media.kinds import IMAGE_SUFFIXES, VIDEO_SUFFIXES, MediaKind
from aurora_cli.io.atomic import PARTIAL_SUFFIX, disk_errors
from aurora_cli.io.data_uri import is_data_uri

MEDIA_FOLDER = ".media"

VIDEO_ENDINGS = (".mp4", ".webm", ".mkv", ".avi", ".mov")
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
"""What is tried where a path has no suffix."""


PLAIN = re.compile(r"(?!/|\./|.*(?://|\.\.))[^:\\\0]+").fullmatch
"""A relative path that is written in the shortest way."""


class MediaSource(Protocol):
    """Finds media of one source. All of them may be asked for what is not there."""

    def locate(self, path: str, kind: MediaKind | None) -> str | None:
        """The path that a record names a medium by; none: it is not there. Raises Rejection for addresses."""
        ...

    def open(self, path: str) -> Path | bytes:
        """A medium that was located, before there are links."""
        ...


class Moved(NamedTuple):
    """What the paths of media begin with where they were written, and the folder that it is here."""

    before: str
    """Ends in a slash."""
    here: Path


class FolderMedia:
    """Media in a folder."""

    def __init__(self, root: Path, name: str, moved: Moved | None = None) -> None:
        """`name`: of the link below `.media`; `moved`: of paths that begin on another machine, `here` being `root`."""
        self.root = root
        self._before = "" if moved is None else moved.before
        self.name = name
        self._absolute = os.path.abspath(root)  # noqa: PTH100  (a path's text, without following links)
        self._prefix = f"{MEDIA_FOLDER}/{name}/"
        self._listings = Listings(root)

    def locate(self, path: str, kind: MediaKind | None) -> str | None:
        if PLAIN(path) is not None and self._listings.find(path) == "file":
            return self._prefix + path
        if (path := local_path(path)) and is_data_uri(path):
            return path
        if "\0" in path or "\\" in path:
            path = path.replace("\\", "/").replace("\0", "")
        if self._before:
            path = path.removeprefix(self._before)
        for candidate in spellings(path, kind):
            if (found := self._find(candidate, kind)) is not None:
                return found
        return None

    def _find(self, path: str, kind: MediaKind | None) -> str | None:
        if path[:1] == "/" or ".." in path or "//" in path or path[:2] == "./":
            whole = posixpath.normpath(f"{self._absolute}/{path}" if path[:1] != "/" else path)
            if not whole.startswith(f"{self._absolute}/"):
                return whole if _is_right(found_at(whole), kind) else None
            path = whole[len(self._absolute) + 1 :]
        return self._prefix + path if _is_right(self._listings.find(path), kind) else None

    def open(self, path: str) -> Path:
        return self.root / path.removeprefix(self._prefix)


class CopiedMedia(FolderMedia):
    """Media in a folder, of which each is copied as it is located."""

    def __init__(self, root: Path, name: str, output: Path, moved: Moved | None = None) -> None:
        super().__init__(root, name, moved)
        self._output = output

    def locate(self, path: str, kind: MediaKind | None) -> str | None:
        found = super().locate(path, kind)
        if found is None or is_data_uri(found):
            return found
        source = self.open(found)
        if found.startswith("/"):
            found = f"{self._prefix}outside{found}"
        copy_medium(source, self._output / found)
        return found


class ArchivedMedia:
    """Media in tars: before they are indexed, whatever was read of them is there."""

    def __init__(self, archives: dict[str, Path], has: Callable[[str], bool] = lambda path: True) -> None:
        """`has`: whether the index has a path below `.media`."""
        self._archives = archives
        self._has = has

    def locate(self, path: str, kind: MediaKind | None) -> str | None:
        return f"{MEDIA_FOLDER}/{path}" if path and self._has(path) else None

    def open(self, path: str) -> bytes:
        name, _, member = path.removeprefix(f"{MEDIA_FOLDER}/").partition("/")
        with tarfile.open(self._archives[name]) as tar:
            file = tar.extractfile(member)
            return b"" if file is None else file.read()


def spellings(path: str, kind: MediaKind | None = None) -> tuple[str, ...]:
    """A path, and where it has no known suffix, the path with those of its kind."""
    suffix = path[path.rfind(".") :].lower() if "." in path else ""
    if suffix in IMAGE_SUFFIXES or suffix in VIDEO_SUFFIXES:
        return (path,)
    endings = {"video": VIDEO_ENDINGS, "image": IMAGE_ENDINGS, None: (*IMAGE_ENDINGS, *VIDEO_ENDINGS)}[kind]
    return (path, *(path + ending for ending in endings))


def _is_right(found: str | None, kind: MediaKind | None) -> bool:
    """A file; or a folder, of frames, where a video may be."""
    return found == "file" or (found == "folder" and kind == "video")


def kind_of(path: str) -> MediaKind:
    """What a medium without a column of its kind is, by its suffix; a folder is a video's frames."""
    suffix = path[path.rfind(".") :].lower()
    return "image" if suffix in IMAGE_SUFFIXES or is_data_uri(path) else "video"


def copy_medium(source: Path, target: Path) -> None:
    """Copy a file or a folder of frames, unless that was done before. A file has its name when it is whole."""
    if source.is_dir():
        for file in sorted(source.iterdir()):
            if file.is_file():
                copy_medium(file, target / file.name)
        return
    with disk_errors(target):
        status = source.stat()
        if target.is_file():
            there = target.stat()
            if (there.st_size, there.st_mtime_ns) == (status.st_size, status.st_mtime_ns):
                return
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}{PARTIAL_SUFFIX}")
        shutil.copy2(source, partial)
        partial.replace(target)


def link_folder(root: Path, link: Path, workspace: Path) -> None:
    """One link to a folder: relative where both lie in the workspace, which may then be moved."""
    root, workspace = root.absolute(), workspace.absolute()
    target = os.path.relpath(root, link.parent.absolute()) if root.is_relative_to(workspace) else str(root)
    if link.is_symlink() and os.readlink(link) == target:  # noqa: PTH115  (its text)
        return
    with disk_errors(link):
        link.parent.mkdir(parents=True, exist_ok=True)
        partial = link.with_name(f".{link.name}{PARTIAL_SUFFIX}")
        partial.unlink(missing_ok=True)
        partial.symlink_to(target)
        partial.replace(link)
