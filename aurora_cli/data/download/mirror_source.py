"""A local folder that holds a copy of the data set: a mounted mirror, another machine's `data/`."""

import hashlib
import os
from pathlib import Path

from aurora_cli.console import Advance
from aurora_cli.data.archives.finding.names import archive_of
from aurora_cli.data.download.manifest import MANIFEST_FILE, DownloadManifest, RemoteFile
from aurora_cli.data.download.origin import Origin
from aurora_cli.data.download.origins import origins_of
from aurora_cli.data.download.partial_file import PartialFile
from aurora_cli.errors import HostError
from aurora_cli.io.atomic import sha256_of

_CHUNK_BYTES = 1 << 20
_SAMPLE_BYTES = 64 << 10


class MirrorSource:
    """A local folder in the published layout."""

    commit = ""

    def __init__(self, folder: Path) -> None:
        self.name, self._folder = str(folder), folder
        listed = DownloadManifest.of_folder(folder)
        self._listed = listed.by_path if listed is not None else {}
        self._terms = listed.terms if listed is not None else {}

    def files(self) -> list[RemoteFile]:
        found: list[RemoteFile] = []
        for folder, folders, names in os.walk(self._folder, followlinks=True):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                if name.startswith(".") or name == MANIFEST_FILE:
                    continue
                file = Path(folder, name)
                path, size = file.relative_to(self._folder).as_posix(), file.stat().st_size
                listed = self._listed.get(path)
                found.append(listed if listed is not None and listed.size == size else RemoteFile(path, size))
        return found

    def origins(self, subset: str) -> tuple[Origin, ...]:
        """What the folder's own list says; else what is published under this subset's name."""
        return self._terms.get(subset) or origins_of(subset)

    def equality(self, file: RemoteFile) -> str | None:
        """Size, beginning and end: what differs here is different; what does not is hashed."""
        if archive_of(Path(file.path).name) is None:
            return None
        with open(self._folder / file.path, "rb") as content:
            ends = content.read(_SAMPLE_BYTES)
            content.seek(max(file.size - _SAMPLE_BYTES, 0))
            ends += content.read(_SAMPLE_BYTES)
        return f"{file.size} {hashlib.sha256(ends).hexdigest()}"

    def sha256(self, file: RemoteFile) -> str | None:
        return sha256_of(self._folder / file.path)

    def read(self, file: RemoteFile, into: PartialFile, advance: Advance) -> None:
        path = self._folder / file.path
        if into.position and not into.begins_like(path):
            advance(-into.position)
            into.restart()
        try:
            with open(path, "rb") as source:
                source.seek(into.position)
                while content := source.read(_CHUNK_BYTES):
                    into.write(content)
                    advance(len(content))
        except FileNotFoundError:
            raise HostError(f"{path}: is gone since the folder was listed") from None
