"""`import.json` beside the records, written last: what they were made from, how, and what became of every row."""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from aurora_cli.config.workspace import Workspace
from aurora_cli.io.atomic import sha256_of
from aurora_cli.io.json_files import JsonObject, StoredModel

MANIFEST = "import.json"
HASHED_BYTES = 1 << 30
"""Of a larger file only the size and the time of its last change count."""


class ImportedFile(BaseModel):
    """A file that captions were read from, or a folder with texts beside its media."""

    model_config = ConfigDict(frozen=True)

    path: str
    """Relative to the workspace, if it lies in it."""
    size: int
    """Bytes; of a folder, the number of its files."""
    mtime_ns: int
    """Of its last change; of a folder 0."""
    sha256: str | None = None
    """Of a folder: of the names, sizes and times of its files; none: too large to hash."""


class ImportedSource(BaseModel):
    """One of the sources."""

    model_config = ConfigDict(frozen=True)

    path: str
    format: str
    media_root: str
    """What its paths of media start from."""
    link: str | None
    """Name below `.media`; none: the media lie in archives or in the source itself."""
    files: tuple[ImportedFile, ...]


class ImportCounts(BaseModel):
    """What became of the rows."""

    model_config = ConfigDict(frozen=True)

    read: int
    """Kept and rejected."""
    kept: int
    """Records, those for validation among them."""
    validation: int
    images: int
    """Records with images."""
    videos: int
    rejected: dict[str, int] = Field(default_factory=dict)
    """Rows by reason."""


class ImportManifest(StoredModel):
    """What an import made of which sources."""

    WHAT: ClassVar[str] = "the manifest of an import"
    HINT: ClassVar[str | None] = "aurora import --force makes it again."

    sources: tuple[ImportedSource, ...]
    settings: JsonObject
    """Those that decide what the records are."""
    counts: ImportCounts
    files: dict[str, int]
    """What was written, relative to the workspace -> bytes."""


def file_entry(path: Path, workspace: Workspace, known: ImportedFile | None = None) -> ImportedFile:
    """A file as a manifest remembers it. The hash of one whose size and time are `known` is taken from there."""
    status = path.stat()
    if known is not None and (known.size, known.mtime_ns) == (status.st_size, status.st_mtime_ns):
        return known
    digest = sha256_of(path) if status.st_size <= HASHED_BYTES and not path.name.endswith(".tar") else None
    return ImportedFile(path=workspace.relative(path), size=status.st_size, mtime_ns=status.st_mtime_ns, sha256=digest)


def folder_entry(path: Path, workspace: Workspace) -> ImportedFile:
    """A folder as a manifest remembers it."""
    digest, count = hashlib.sha256(), 0
    for line in _lines_of(path, ""):
        digest.update(line)
        count += 1
    return ImportedFile(path=workspace.relative(path), size=count, mtime_ns=0, sha256=digest.hexdigest())


def _lines_of(folder: Path, below: str) -> Iterator[bytes]:
    with os.scandir(folder) as entries:
        found = sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    for entry in found:
        if entry.is_dir():
            yield from _lines_of(Path(entry), f"{below}{entry.name}/")
        elif entry.is_file():
            status = entry.stat()
            yield os.fsencode(f"{below}{entry.name}\0{status.st_size}\0{status.st_mtime_ns}\n")


def is_same(known: ImportedFile, now: ImportedFile) -> bool:
    """Whether a file is what it was: the same bytes, or where they were not hashed, the same size and time."""
    if known.size != now.size:
        return False
    if known.sha256 is not None and now.sha256 is not None:
        return known.sha256 == now.sha256
    return known.mtime_ns == now.mtime_ns
