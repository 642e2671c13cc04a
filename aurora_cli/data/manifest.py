"""What a download consists of, written before the first byte: an incomplete one can never look complete.

`download.json` in the data folder lists every file with its size and hash. A file has its final name only when it
is whole, so what is listed and not there has still to come - unless a later step used and deleted it, which that
step notes in `.spent.jsonl` beside the file.
"""

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from aurora_cli.files import disk_errors, fsync_folder, read_json, write_json

MANIFEST_FILE = "download.json"
SPENT_FILE = ".spent.jsonl"
SCHEMA = 1


@dataclass(frozen=True)
class RemoteFile:
    """A file of the data set as its source lists it."""

    path: str
    """Relative, with `/`."""
    size: int
    sha256: str | None = None
    git_sha1: str | None = None
    """Git's hash of a small file that is not in LFS: sha1 of `blob <size>`, NUL, content."""

    @property
    def split(self) -> str:
        return self.path.split("/")[0] if "/" in self.path else ""

    @property
    def subset(self) -> str:
        """`<split>/<subset>`; what lies higher has none."""
        return "/".join(self.path.split("/")[:2]) if self.path.count("/") >= 2 else ""


@dataclass(frozen=True)
class DownloadManifest:
    """The files that one download is meant to bring, and where from."""

    repo: str
    revision: str
    commit: str
    files: dict[str, RemoteFile]
    settings: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "DownloadManifest | None":
        """The manifest in `folder`; none if nothing was downloaded into it."""
        path = folder / MANIFEST_FILE
        if not path.is_file():
            return None
        stored = read_json(path)
        files = {entry["path"]: RemoteFile(**entry) for entry in stored["files"]}
        return cls(stored["repo"], stored["revision"], stored["commit"], files, stored["settings"])

    def write(self, folder: Path) -> None:
        entries = [asdict(self.files[path]) for path in sorted(self.files)]
        write_json(
            folder / MANIFEST_FILE,
            {
                "schema": SCHEMA,
                "repo": self.repo,
                "revision": self.revision,
                "commit": self.commit,
                "settings": self.settings,
                "files": entries,
            },
        )

    @staticmethod
    def complaint(archive: Path, present: Iterable[Path], belongs: Callable[[str], bool]) -> str | None:
        """Which part of `archive` the manifest above it lists and the disk lacks, or has in another size."""
        sizes = {file.name: file.stat().st_size for file in present}
        for folder in archive.absolute().parents:
            if not (folder / MANIFEST_FILE).is_file():
                continue
            for name, size in _files_of(folder, (folder / MANIFEST_FILE).stat().st_mtime_ns).get(
                archive.absolute().parent.relative_to(folder).as_posix(), ()
            ):
                if belongs(name) and name not in sizes:
                    return f"{archive}: part {name} has not been downloaded yet (`aurora download` continues)"
                if belongs(name) and sizes[name] != size:
                    return f"{archive}: part {name} has {sizes[name]:,} bytes, the download lists {size:,}"
            return None
        return None


@lru_cache(maxsize=4)
def _files_of(folder: Path, _version: int) -> dict[str, list[tuple[str, int]]]:
    """Folder -> (name, size) of its files in the manifest of `folder`."""
    manifest = DownloadManifest.read(folder)
    grouped: dict[str, list[tuple[str, int]]] = {}
    for file in manifest.files.values() if manifest else ():
        parent, _, name = file.path.rpartition("/")
        grouped.setdefault(parent or ".", []).append((name, file.size))
    return grouped


def delete_spent(files: Sequence[Path], into: Path) -> int:
    """Delete files whose content lives on in `into`, noting it first, so that no download brings them back.

    Returns:
        bytes freed
    """
    freed = 0
    for file in files:
        size = file.stat().st_size
        note = {"name": file.name, "size": size, "into": os.path.relpath(into, file.parent)}
        with disk_errors(file), open(file.parent / SPENT_FILE, "a", encoding="utf-8") as notes:
            notes.write(json.dumps(note) + "\n")
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
        try:
            entry = json.loads(line)
        except ValueError:  # the line that a crash cut; its file was not deleted
            continue
        into[entry["name"]] = entry["size"], entry["into"]

    def lives_on(product: str) -> bool:
        return (folder / product).exists() or (product in into and lives_on(into[product][1]))

    return {name: size for name, (size, product) in into.items() if lives_on(product)}
