"""Media under paths of another machine: which folder there is which folder here."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from aurora_cli.data.importing.item import Item
from aurora_cli.data.importing.media_source import FolderMedia, Moved

DRIVE = re.compile(r"[A-Za-z]:/")


def moved_media(media: list[Item], folders: Iterable[Path]) -> Moved | None:
    """The folder elsewhere that these media are below, and the one of `folders` that has most of them at their places.

    It is one for all, and of its steps as many stay as are here too: so no file is taken for another one of its name.
    None: no disk has most of their paths, or most of them are in none of the folders.
    """
    paths = [path.replace("\\", "/") for item in media for path in item.media]
    above = Counter(folder for path in paths if path.startswith("/") or DRIVE.match(path) for folder in _above(path))
    candidates = [*folders]
    for before in sorted((folder for folder, count in above.items() if 2 * count > len(paths)), key=len):
        for folder in candidates:
            finder = FolderMedia(folder, "media", Moved(before, folder))
            found = [finder.locate(path, item.kind) is not None for item in media for path in item.media]
            if 2 * sum(found) > len(found):
                return Moved(before, folder)
    return None


def _above(path: str) -> Iterator[str]:
    """The folders that a path lies in, the outermost first.

    >>> list(_above("/home/me/a.png"))
    ['/', '/home/', '/home/me/']
    """
    steps = path.split("/")
    return ("/".join(steps[:count]) + "/" for count in range(1, len(steps)))
