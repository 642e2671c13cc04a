"""The files below a folder, as every search for archives sees them."""

import os
from collections.abc import Iterator
from pathlib import Path


def files_below(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """(folder, names of the files in it), from `root` down to the bottom; of a file: the folder that it lies in.

    Folders that are links are followed, each once; names with a leading dot are ours.
    """
    if root.is_file():
        yield root.parent, [entry.name for entry in os.scandir(root.parent) if entry.is_file()]
    if not root.is_dir():
        return
    seen: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(folder), [name for name in names if not name.startswith(".")]
