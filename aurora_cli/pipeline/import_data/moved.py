"""Media under paths of another machine: which folder there is which folder here."""

import posixpath
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from aurora_cli.data.importing.item import Item
from aurora_cli.data.importing.media_source import FolderMedia, Moved

DRIVE = re.compile(r"[A-Za-z]:/")


def moved_media(media: list[Item], folders: Iterable[Path]) -> Moved | None:
    """The folder elsewhere that these media are below, and the one of `folders` that has most of them at their places.

    It is one for all, and of its steps as many stay as are here too: so no file is taken for another one of its name.
    None: not all of their paths begin at the top of one disk, or most of them are in none of the folders.
    """
    paths = [path.replace("\\", "/") for item in media for path in item.media]
    if not paths or not all(path.startswith("/") or DRIVE.match(path) for path in paths):
        return None
    if len({path[0].lower() for path in paths}) > 1:
        return None  # of several drives
    common = posixpath.commonpath([posixpath.dirname(path) for path in paths])
    candidates = [*folders]
    for before in _from_the_top(common):
        for folder in candidates:
            finder = FolderMedia(folder, "media", Moved(before, folder))
            found = [finder.locate(path, item.kind) is not None for item in media for path in item.media]
            if 2 * sum(found) > len(found):
                return Moved(before, folder)
    return None


def _from_the_top(folder: str) -> Iterator[str]:
    """A folder and those that it lies in, the outermost first.

    >>> list(_from_the_top("/home/me"))
    ['/', '/home/', '/home/me/']
    """
    steps = folder.split("/")
    return ("/".join(steps[:count]) + "/" for count in range(1, len(steps) + 1))
