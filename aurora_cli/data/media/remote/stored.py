"""Media that are objects in a bucket, or members of an indexed tar: brought here, one at a time."""

import hashlib
import posixpath
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, TypeAlias

from aurora_cli.data.archives.index_table import Extent
from aurora_cli.data.archives.indexed_tar import IndexedTar
from aurora_cli.data.archives.remote_tar import RemoteTar
from aurora_cli.data.media.errors import TooManyBytes
from aurora_cli.data.media.kinds import kind_by_name
from aurora_cli.data.media.listing import Medium
from aurora_cli.io.atomic import disk_errors
from aurora_cli.io.urls import name_of
from aurora_cli.storage.errors import shown
from aurora_cli.storage.objects import ObjectStat, read_pieces, stat

Tar: TypeAlias = IndexedTar | RemoteTar


class StoredObject(NamedTuple):
    """An object in a bucket."""

    url: str

    def fetch(self, folder: Path, max_bytes: int) -> Path:
        known: ObjectStat = stat(self.url)
        _check_size(shown(self.url), known.size, max_bytes)
        path = folder / _file_name(self.url, name_of(self.url))
        _write(path, read_pieces(self.url, 0, known.size))
        return path


class Member(NamedTuple):
    """A member of an indexed tar, or all files of a folder in it, which are the frames of a video."""

    tar: Tar
    name: str
    members: tuple[tuple[str, Extent], ...]
    """Of a folder, each with its name in it."""
    is_folder: bool

    def fetch(self, folder: Path, max_bytes: int) -> Path:
        _check_size(self.name, sum(extent.size for _, extent in self.members), max_bytes)
        path = folder / _file_name(self.name, posixpath.basename(self.name))
        if not self.is_folder:
            _write(path, _pieces(self.tar, self.members[0][1]))
            return path
        path.mkdir()
        for name, extent in self.members:
            _write(path / name, _pieces(self.tar, extent))
        return path


def stored_medium(name: str, url: str) -> Medium:
    """An object as a medium; whether it is there shows when it is fetched."""
    return Medium(name, url, kind_by_name(url) or "image", is_remote=True, source=StoredObject(url))


def member_of(tar: Tar, name: str) -> Medium | None:
    """A member, or a folder of frames, by its name; none: the tar has none."""
    inside = posixpath.normpath(name).lstrip("/")
    if (extent := tar.find(inside)) is not None:
        member = Member(tar, name, (("", extent),), is_folder=False)
        return Medium(name, name, kind_by_name(name) or "image", is_remote=True, source=member)
    found = [(file, tar.find(f"{inside}/{file}")) for file in tar.files_in(inside)]
    frames = tuple((file, extent) for file, extent in found if extent is not None)
    return Medium(name, name, "video", True, source=Member(tar, name, frames, is_folder=True)) if frames else None


def _pieces(tar: Tar, extent: Extent) -> Iterable[bytes]:
    return tar.pieces(extent) if isinstance(tar, RemoteTar) else (tar.read(extent),)


def _check_size(name: str, size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise TooManyBytes(name, f"{size:,} bytes", max_bytes)


def _file_name(whole: str, last: str) -> str:
    """Short, and with the suffix that decoders go by."""
    return hashlib.sha256(whole.encode("utf-8", "surrogatepass")).hexdigest()[:32] + Path(last).suffix.lower()


def _write(path: Path, pieces: Iterable[bytes]) -> None:
    with disk_errors(path), open(path, "wb") as file:
        file.writelines(pieces)
