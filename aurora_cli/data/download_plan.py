"""What of a chosen data set is here, what is to come, and what the data folder shall list of it."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from aurora_cli.config.settings import DownloadSettings
from aurora_cli.console import Reporter
from aurora_cli.data.fetching import Source, is_like, partial_bytes
from aurora_cli.data.manifest import DownloadManifest, RemoteFile, spent_files
from aurora_cli.data.part_names import archive_of


class Plan(NamedTuple):
    chosen: list[RemoteFile]
    here: list[RemoteFile]
    """Chosen, and here already (or used and deleted by a later step)."""
    groups: list[list[RemoteFile]]
    """What is to come; the files of a group may be equal."""

    def bytes_to_fetch(self, data: Path) -> int:
        largest = (max(group, key=lambda file: file.size) for group in self.groups)
        return sum(max(file.size - partial_bytes(data / file.path), 0) for file in largest)


def make_plan(
    source: Source,
    chosen: list[RemoteFile],
    before: DownloadManifest | None,
    data: Path,
    options: DownloadSettings,
    reporter: Reporter,
) -> Plan:
    used = _Used(chosen, data)
    here: list[RemoteFile] = []
    groups: dict[str, list[RemoteFile]] = {}
    for file in chosen:
        if used.contains(file) or _is_here(file, before, data, source, options, reporter):
            here.append(file)
        else:
            groups.setdefault(source.equality(file) or file.path, []).append(file)
    return Plan(chosen, here, list(groups.values()))


def _is_here(
    file: RemoteFile,
    before: DownloadManifest | None,
    data: Path,
    source: Source,
    options: DownloadSettings,
    reporter: Reporter,
) -> bool:
    """Whether the file lies in its place with the listed content. What we fetched is hashed only on `--verify`."""
    place = data / file.path
    if not place.is_file():
        return False
    if place.stat().st_size != file.size:
        reporter.warning(f"{place}: has another size than {source.name} lists; it is fetched again")
        return False
    recorded = before.files.get(file.path) if before is not None else None
    is_same = recorded is not None and (file.sha256 or recorded.sha256, file.git_sha1 or recorded.git_sha1) == (
        recorded.sha256,
        recorded.git_sha1,
    )
    if is_same and not options.verify:
        return True
    expected = file if file.sha256 or file.git_sha1 else replace(file, sha256=source.sha256(file))
    if is_like(place, expected):
        return True
    reporter.warning(f"{place}: has other content than {source.name} lists; it is fetched again")
    return False


class _Used:
    """Files that are not there because a later step has used them: noted when deleted, or merged into their archive."""

    def __init__(self, chosen: Iterable[RemoteFile], data: Path) -> None:
        self._data = data
        self._spent: dict[Path, dict[str, int]] = {}
        self._sizes: dict[Path, int] = {}
        for file in chosen:
            if (archive := self._archive(file)) is not None:
                self._sizes[archive] = self._sizes.get(archive, 0) + file.size

    def _archive(self, file: RemoteFile) -> Path | None:
        """The archive that the file is a part of."""
        place = self._data / file.path
        archive = archive_of(place.name)
        return None if archive in (None, place.name) else place.with_name(archive)

    def contains(self, file: RemoteFile) -> bool:
        place = self._data / file.path
        if place.exists():
            return False
        if place.parent not in self._spent:
            self._spent[place.parent] = spent_files(place.parent)
        archive = self._archive(file)
        is_merged = archive is not None and archive.is_file() and archive.stat().st_size == self._sizes[archive]
        return is_merged or self._spent[place.parent].get(place.name) == file.size


def make_manifest(
    source: Source,
    chosen: list[RemoteFile],
    before: DownloadManifest | None,
    data: Path,
    options: DownloadSettings,
) -> DownloadManifest:
    """What is chosen now, and what earlier runs chose in subsets of which something is here."""
    files: dict[str, RemoteFile] = {}
    for file in before.files.values() if before is not None else ():
        folder = data / (file.subset or ".")
        if folder.is_dir() and any(folder.iterdir()):
            files[file.path] = file
    for file in chosen:
        earlier = files.get(file.path)
        is_richer = earlier is not None and earlier.sha256 is not None and earlier.size == file.size
        files[file.path] = earlier if earlier is not None and is_richer and not (file.sha256 or file.git_sha1) else file
    return DownloadManifest(source.name, options.revision, source.commit, files, options.model_dump(mode="json"))
