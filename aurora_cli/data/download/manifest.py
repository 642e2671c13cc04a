"""What a download consists of, written before the first byte: an incomplete one can never look complete.

`download.json` in the data folder lists every file with its size and hash. A file has its final name only when it
is whole, so what is listed and not there has still to come - unless a later step used and deleted it, which that
step notes in `.spent.jsonl` beside the file.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from aurora_cli.data.archives.finding.names import archive_of, volume_name
from aurora_cli.data.archives.spent import spent_files
from aurora_cli.errors import DataError
from aurora_cli.io.atomic import read_json, write_json

MANIFEST_FILE = "download.json"
SCHEMA = 1
_LEVELS = 4
"""Folder, subset, split, data: how far above an archive its manifest may lie."""


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
    terms: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    """`<split>/<subset>` -> the data sets it was taken from, with licence and address: see `data.download.origins`."""

    @classmethod
    def read(cls, folder: Path) -> "DownloadManifest | None":
        """The manifest in `folder`; none if nothing was downloaded into it."""
        path = folder / MANIFEST_FILE
        if not path.is_file():
            return None
        try:
            stored = read_json(path)
            files = {entry["path"]: RemoteFile(**entry) for entry in stored["files"]}
            terms = stored.get("terms", {})
            return cls(stored["repo"], stored["revision"], stored["commit"], files, stored["settings"], terms)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path}: is no list of a download ({error})", hint="Remove it and run `aurora download` again."
            ) from error

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
                "terms": self.terms,
                "files": entries,
            },
        )

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
    manifest = DownloadManifest.read(folder)
    grouped: dict[str, list[tuple[str, int]]] = {}
    for file in manifest.files.values() if manifest else ():
        parent, _, name = file.path.rpartition("/")
        grouped.setdefault(parent or ".", []).append((name, file.size))
    return grouped
