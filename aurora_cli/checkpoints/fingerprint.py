"""What files are, by size and time or by hash."""

from collections.abc import Iterable
from pathlib import Path

Stamp = list[int]
"""Size and time of the last change, in ns."""


def stamps(files: Iterable[Path]) -> dict[str, Stamp]:
    """Every file by its absolute path; a folder stands for the files in it."""
    found: dict[str, Stamp] = {}
    for path in files:
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in inside:
            if file.is_file():
                status = file.stat()
                found[str(file.resolve())] = [status.st_size, status.st_mtime_ns]
    return found


FACTS_FILE = "aurora.json"
"""In every export: merging settings, history, and what the export was made of."""
