"""Where the names of a list of media are looked up: folders, indexed tars, and URLs of either."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from aurora_cli.console import SILENT, Reporter
from aurora_cli.data.archives.indexed_tar import IndexedTar, index_of
from aurora_cli.data.archives.remote_tar import RemoteTar
from aurora_cli.data.media.kinds import kind_by_name
from aurora_cli.data.media.listing import Medium, medium_of
from aurora_cli.data.media.remote.stored import Tar, member_of, stored_medium
from aurora_cli.errors import DataError, UsageError
from aurora_cli.io.urls import is_url, join, parts_of
from aurora_cli.storage.client import check_bucket, check_folder
from aurora_cli.storage.errors import shown
from aurora_cli.storage.objects import list_objects, stat_if_there

Lookup: TypeAlias = Callable[[str], Medium | None]
"""The medium that a name means there; none: there is none."""


def lookups_of(given: Sequence[str], root: Path, reporter: Reporter = SILENT) -> tuple[Lookup, ...]:
    """What `--media-root` names, in its order. Paths start at `root`.

    Raises:
        UsageError: it is neither a folder nor a tar.
        DataError: an archive has no index, or not its own; or a folder in a bucket is empty.
        HostError: a store cannot be reached.
    """
    return tuple(_lookup(name, root, reporter) for name in given)


def bucket(url: str) -> Lookup:
    """Objects below a folder's URL. Every name is there, for all that is known before it is fetched."""
    return lambda name: stored_medium(name, join(url, name))


def objects_named(url: str) -> list[Medium]:
    """The media that a URL means: an object, or with a slash at its end, or where it is a bucket, all images and videos
    below it.

    Raises:
        UsageError: there are none, or it is an archive.
        DataError: there is no such bucket.
        HostError: the store cannot be reached.
    """
    if url.lower().endswith(".tar"):
        raise UsageError(
            f"{shown(url)}: is an archive, whose members a list names",
            hint=f"--manifest FILE --media-root {shown(url)}",
        )
    if not url.endswith("/") and parts_of(url)[2]:
        return [stored_medium(url, url)]
    found = [join(url, name) for name in list_objects(url) if kind_by_name(name) is not None]
    if not found:
        check_bucket(url)
        raise UsageError(
            f"{shown(url)}: holds no images and no videos",
            hint="Is the folder spelled so? Objects are known by how their names end: .jpg, .png, .mp4 and so on.",
        )
    return [stored_medium(each, each) for each in found]


def _lookup(name: str, root: Path, reporter: Reporter) -> Lookup:
    if is_url(name):
        return _members(RemoteTar(name, reporter)) if name.lower().endswith(".tar") else _objects(name)
    path = (root / Path(name).expanduser()).absolute()
    if path.is_dir():
        return _files(path)
    if not path.is_file():
        raise UsageError(f"--media-root {name}: is not there", hint="Name a folder, an indexed .tar, or a URL of one.")
    try:
        return _members(IndexedTar(path))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{index_of(path)}: is not there, or no index that this version can read",
            hint=f"aurora extract --layout index {name}",
        ) from error


def _members(tar: Tar) -> Lookup:
    return lambda name: member_of(tar, name)


def _objects(url: str) -> Lookup:
    check_folder(url)

    def find(name: str) -> Medium | None:
        at = join(url, name)
        return None if stat_if_there(at) is None else stored_medium(name, at)

    return find


def _files(folder: Path) -> Lookup:
    def find(name: str) -> Medium | None:
        medium = medium_of(name, folder)
        return medium if medium.path.exists() else None

    return find
