"""What a download consists of, written before the first byte: an incomplete one can never look complete.

`download.json` in the data folder lists every file with its size and hash. A file has its final name only when it
is whole, so what is listed and not there has still to come - unless a later step used and deleted it, which that
step notes in `.spent.jsonl` beside the file.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from aurora_cli.data.archives.finding.names import archive_of, volume_name
from aurora_cli.data.archives.spent import spent_files
from aurora_cli.data.download.origin import Origin
from aurora_cli.io.json_files import JsonObject, StoredModel

MANIFEST_FILE = "download.json"
_LEVELS = 4
"""Folder, subset, split, data: how far above an archive its manifest may lie."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of the data set as its source lists it."""

    path: str
    """Relative, with `/`."""
    size: int
    """Bytes."""
    sha256: str | None = None
    """Of what is listed; once the file has come, of that."""
    git_sha1: str | None = None
    """Git's hash of a small file that is not in LFS: sha1 of `blob <size>`, NUL, content."""

    @property
    def split(self) -> str:
        return self.path.split("/")[0] if "/" in self.path else ""

    @property
    def subset(self) -> str:
        """`<split>/<subset>`; what lies higher has none."""
        return "/".join(self.path.split("/")[:2]) if self.path.count("/") >= 2 else ""


class DownloadManifest(StoredModel):
    """The files that one download is meant to bring, and where from."""

    WHAT: ClassVar[str] = "the list of a download"
    HINT: ClassVar[str | None] = "Remove it and run `aurora download` again."

    repo: str
    """A repository of the hub, or a folder."""
    revision: str
    """The branch, tag or commit that was asked for."""
    commit: str
    """What `revision` was; empty for a folder."""
    settings: JsonObject
    """Those of `download`."""
    terms: dict[str, tuple[Origin, ...]] = Field(default_factory=dict)
    """`<split>/<subset>` -> the data sets it was taken from, with licence and address: see `data.download.origins`."""
    files: tuple[RemoteFile, ...]
    """In the order of their paths, whether they have come or not."""

    @cached_property
    def by_path(self) -> dict[str, RemoteFile]:
        return {file.path: file for file in self.files}

    @classmethod
    def of_folder(cls, folder: Path) -> "DownloadManifest | None":
        """The manifest in `folder`; none if nothing was downloaded into it.

        Raises:
            DataError: it is damaged
        """
        return cls.read_if_there(folder / MANIFEST_FILE)

    def with_hashes(self, hashes: Mapping[str, str]) -> "DownloadManifest":
        """The same files with the sha256 that they were found to have."""
        files = [replace(file, sha256=hashes.get(file.path, file.sha256)) for file in self.files]
        return self.model_copy(update={"files": tuple(files)})

    def write_into(self, folder: Path) -> None:
        self.write(folder / MANIFEST_FILE)

    @staticmethod
    def above(path: Path) -> Path | None:
        """The folder at or above `path` that was downloaded into."""
        path = path.absolute()
        return next((f for f in [path, *path.parents][:_LEVELS] if (f / MANIFEST_FILE).is_file()), None)

    @classmethod
    def complaint(cls, archive: Path, present: Sequence[Path]) -> str | None:
        """Which file of `archive` the manifest above it lists and the disk lacks, or has in another size."""
        sizes = {file.name: file.stat().st_size for file in present}
        is_merged = archive.name in sizes
        for name, size in cls._expected(archive.absolute().parent):
            is_part = name != archive.name and volume_name(name) is None
            if archive_of(name) != archive.name or is_part == is_merged:
                continue
            if name not in sizes:
                return f"{archive}: {name} has not been downloaded yet (`aurora download` continues)"
            if sizes[name] != size:
                return f"{archive}: {name} has {sizes[name]:,} bytes, the download lists {size:,}"
        return None

    @classmethod
    def missing_archives(cls, root: Path) -> list[str]:
        """A line for each archive below `root` that is listed, of which nothing has come yet."""
        if (top := cls.above(root)) is None:
            return []
        missing: list[str] = []
        for parent, files in _files_of(top, _version(top)).items():
            folder = top / parent
            if folder != root.absolute() and root.absolute() not in folder.parents:
                continue
            spent = spent_files(folder)
            archives: dict[str, list[str]] = {}
            for name, _ in files:
                if (archive := archive_of(name)) is not None:
                    archives.setdefault(archive, []).append(name)
            for archive, names in archives.items():
                if not any((folder / name).exists() or name in spent for name in [archive, *names]):
                    missing.append(f"{folder / archive}: has not been downloaded yet (`aurora download` continues)")
        return missing

    @classmethod
    def _expected(cls, folder: Path) -> list[tuple[str, int]]:
        """(name, size) of the files that belong into `folder`."""
        top = cls.above(folder)
        return [] if top is None else _files_of(top, _version(top)).get(folder.relative_to(top).as_posix(), [])


def _version(folder: Path) -> int:
    return (folder / MANIFEST_FILE).stat().st_mtime_ns


@lru_cache(maxsize=4)
def _files_of(folder: Path, _version: int) -> dict[str, list[tuple[str, int]]]:
    """Folder -> (name, size) of its files in the manifest of `folder`."""
    manifest = DownloadManifest.of_folder(folder)
    grouped: dict[str, list[tuple[str, int]]] = {}
    for file in manifest.files if manifest else ():
        parent, _, name = file.path.rpartition("/")
        grouped.setdefault(parent or ".", []).append((name, file.size))
    return grouped
