"""The ledger of files that a later step used up and deleted."""

import contextlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

from aurora_cli.data.archives.receipt import SpentFile
from aurora_cli.errors import DataError
from aurora_cli.io.atomic import disk_errors, fsync_folder

SPENT_FILE = ".spent.jsonl"


def delete_spent(files: Sequence[Path], into: Path) -> int:
    """Delete files whose content lives on in `into`, noting it first, so that no download brings them back.

    Returns:
        bytes freed
    """
    freed = 0
    for file in files:
        size = file.stat().st_size
        note = SpentFile(name=file.name, size=size, into=os.path.relpath(into, file.parent))
        with disk_errors(file), open(file.parent / SPENT_FILE, "a", encoding="utf-8") as notes:
            notes.write(note.to_line())
            notes.flush()
            os.fsync(notes.fileno())
        file.unlink()
        freed += size
    for folder in {file.parent for file in files}:
        fsync_folder(folder)
    return freed


def spent_files(folder: Path) -> dict[str, int]:
    """Name -> size of the files of `folder` that were used and deleted, as long as what they went into is there."""
    notes = folder / SPENT_FILE
    if not notes.is_file():
        return {}
    into: dict[str, tuple[int, str]] = {}
    for line in notes.read_text(encoding="utf-8").splitlines():
        with contextlib.suppress(ValueError, DataError):  # the line that a crash cut; its file was not deleted
            entry = SpentFile.parse(json.loads(line), notes)
            into[entry.name] = entry.size, entry.into

    def lives_on(product: str) -> bool:
        return (folder / product).exists() or (product in into and lives_on(into[product][1]))

    return {name: size for name, (size, product) in into.items() if lives_on(product)}
