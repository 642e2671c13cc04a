"""What of a chosen data set is here, what is to come, and what the data folder shall list of it."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from aurora_cli.config.settings import DownloadSettings
from aurora_cli.console import Reporter
from aurora_cli.data.archives.finding.names import archive_of
from aurora_cli.data.archives.spent import spent_files
from aurora_cli.data.download.fetch import is_like
from aurora_cli.data.download.manifest import DownloadManifest, RemoteFile
from aurora_cli.data.download.origins import to_record
from aurora_cli.data.download.partial_file import partial_bytes
from aurora_cli.data.download.source import Source


class Plan(NamedTuple):
    chosen: list[RemoteFile]
    here: list[RemoteFile]
    """Chosen, and here already (or used and deleted by a later step)."""
    groups: list[list[RemoteFile]]
    """What is to come; the files of a group may be equal."""

    def bytes_to_fetch(self, data: Path) -> int:
        largest = (max(group, key=lambda file: file.size) for group in self.groups)
        return sum(max(file.size - partial_bytes(data / file.path, file), 0) for file in largest)


def make_plan(
    source: Source,
    chosen: list[RemoteFile],
    before: DownloadManifest | None,
    data: Path,
    options: DownloadSettings,
    reporter: Reporter,
) -> Plan:
    used = _Used(chosen, data)
    here = {file.path for file in chosen if used.contains(file)}
    doubtful: list[RemoteFile] = []
    for file in chosen:
        place = data / file.path
        if file.path in here or not place.is_file():
            continue
        if place.stat().st_size != file.size:
            reporter.warning(f"{place}: has another size than {source.name} lists; it is fetched again")
        elif options.verify or not _is_recorded(file, before):
            doubtful.append(file)
        else:
            here.add(file.path)
    here |= _right_ones(doubtful, data, source, options, reporter)

    groups: dict[str, list[RemoteFile]] = {}
    for file in chosen:
        if file.path not in here:
            groups.setdefault(source.equality(file) or file.path, []).append(file)
    return Plan(chosen, [file for file in chosen if file.path in here], list(groups.values()))


def _is_recorded(file: RemoteFile, before: DownloadManifest | None) -> bool:
    """Whether an earlier run fetched, and so hashed, this very content."""
    recorded = before.files.get(file.path) if before is not None else None
    return recorded is not None and (file.sha256 or recorded.sha256, file.git_sha1 or recorded.git_sha1) == (
        recorded.sha256,
        recorded.git_sha1,
    )


def _right_ones(
    files: list[RemoteFile], data: Path, source: Source, options: DownloadSettings, reporter: Reporter
) -> set[str]:
    """Paths of the files whose content, hashed now, is the listed one."""
    if not files:
        return set()

    def is_right(file: RemoteFile) -> bool:
        expected = file if file.sha256 or file.git_sha1 else replace(file, sha256=source.sha256(file))
        return is_like(data / file.path, expected, advance)

    right: set[str] = set()
    total = sum(file.size for file in files)
    with reporter.progress("verify", total, "bytes") as advance, ThreadPoolExecutor(options.workers) as pool:
        for file, is_good in zip(files, pool.map(is_right, files), strict=True):
            if is_good:
                right.add(file.path)
            else:
                reporter.warning(f"{data / file.path}: has other content than {source.name} lists; it is fetched again")
    return right


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
    subsets = sorted({file.subset for file in files.values()} - {""})
    chosen_subsets = {file.subset for file in chosen}
    earlier_terms = before.terms if before is not None else {}
    terms = {
        subset: to_record(source.origins(subset))
        if subset in chosen_subsets or subset not in earlier_terms
        else earlier_terms[subset]
        for subset in subsets
    }
    return DownloadManifest(source.name, options.revision, source.commit, files, options.model_dump(mode="json"), terms)
