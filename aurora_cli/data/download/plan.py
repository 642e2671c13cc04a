"""What of a selected data set is here, what is to come, and what the data folder shall list of it."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from aurora_cli.config.settings import DownloadSettings
from aurora_cli.config.share import balanced_shares
from aurora_cli.console import Reporter
from aurora_cli.data.archives.finding.names import archive_of
from aurora_cli.data.archives.spent import spent_files
from aurora_cli.data.download.fetch import is_like
from aurora_cli.data.download.manifest import DownloadManifest, RemoteFile
from aurora_cli.data.download.origin import Origin
from aurora_cli.data.download.partial_file import partial_bytes
from aurora_cli.data.download.source import Source


class Plan(NamedTuple):
    selected: list[RemoteFile]
    here: list[RemoteFile]
    """Selected, and here already (or used and deleted by a later step)."""
    groups: list[list[RemoteFile]]
    """What is to come; the files of a group may be equal."""

    def bytes_to_fetch(self, data: Path) -> int:
        largest = (max(group, key=lambda file: file.size) for group in self.groups)
        return sum(max(file.size - partial_bytes(data / file.path, file), 0) for file in largest)


def shares_of_files(source: Source, selected: list[RemoteFile], count: int) -> dict[str, int]:
    """The share that brings each file, so that all have about as many bytes; those that may be equal are in one."""
    groups: dict[str, list[RemoteFile]] = {}
    for file in sorted(selected, key=lambda file: file.path):
        groups.setdefault(source.equality(file) or file.path, []).append(file)
    shares = balanced_shares([group[0].size for group in groups.values()], count)
    return {file.path: share for group, share in zip(groups.values(), shares, strict=True) for file in group}


def make_plan(
    source: Source,
    selected: list[RemoteFile],
    before: DownloadManifest | None,
    data: Path,
    options: DownloadSettings,
    reporter: Reporter,
) -> Plan:
    """Tell what is here already from what is to come; a file that no earlier run recorded is hashed.

    Files that may be equal are in one group, so that one of them is fetched.
    """
    used = _Used(selected, data)
    here = {file.path for file in selected if used.contains(file)}
    doubtful: list[RemoteFile] = []
    for file in selected:
        path = data / file.path
        if file.path in here or not path.is_file():
            continue
        if path.stat().st_size != file.size:
            reporter.warning(f"{path}: has another size than {source.name} lists; it is fetched again")
        elif options.verify or not _is_recorded(file, before):
            doubtful.append(file)
        else:
            here.add(file.path)
    here |= _right_ones(doubtful, data, source, options, reporter)

    groups: dict[str, list[RemoteFile]] = {}
    for file in selected:
        if file.path not in here:
            groups.setdefault(source.equality(file) or file.path, []).append(file)
    return Plan(selected, [file for file in selected if file.path in here], list(groups.values()))


def _is_recorded(file: RemoteFile, before: DownloadManifest | None) -> bool:
    """Whether an earlier run fetched, and so hashed, this very content."""
    recorded = before.by_path.get(file.path) if before is not None else None
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

    def __init__(self, selected: Iterable[RemoteFile], data: Path) -> None:
        self._data = data
        self._spent: dict[Path, dict[str, int]] = {}
        self._sizes: dict[Path, int] = {}
        for file in selected:
            if (archive := self._archive(file)) is not None:
                self._sizes[archive] = self._sizes.get(archive, 0) + file.size

    def _archive(self, file: RemoteFile) -> Path | None:
        """The archive that the file is a part of."""
        path = self._data / file.path
        archive = archive_of(path.name)
        return None if archive is None or archive == path.name else path.with_name(archive)

    def contains(self, file: RemoteFile) -> bool:
        path = self._data / file.path
        if path.exists():
            return False
        if path.parent not in self._spent:
            self._spent[path.parent] = spent_files(path.parent)
        archive = self._archive(file)
        is_merged = archive is not None and archive.is_file() and archive.stat().st_size == self._sizes[archive]
        return is_merged or self._spent[path.parent].get(path.name) == file.size


def make_manifest(
    source: Source,
    selected: list[RemoteFile],
    before: DownloadManifest | None,
    data: Path,
    options: DownloadSettings,
) -> DownloadManifest:
    """What is selected now, and what earlier runs selected in subsets of which something is here."""
    files = {} if before is None else {file.path: file for file in before.files if _has_files(data / file.subset)}
    for file in selected:
        files[file.path] = _richer(files.get(file.path), file)
    earlier_terms = {} if before is None else before.terms
    selected_subsets = {file.subset for file in selected}
    terms: dict[str, tuple[Origin, ...]] = {}
    for subset in sorted({file.subset for file in files.values()} - {""}):
        is_known = subset in earlier_terms and subset not in selected_subsets
        terms[subset] = earlier_terms[subset] if is_known else source.origins(subset)
    return DownloadManifest(
        repo=source.name,
        revision=options.revision,
        commit=source.commit,
        settings=options.model_dump(mode="json", exclude={"shard"}),
        terms=terms,
        files=tuple(files[path] for path in sorted(files)),
    )


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _richer(earlier: RemoteFile | None, file: RemoteFile) -> RemoteFile:
    """The entry to keep of a file: a source without hashes does not take away the one that an earlier run found."""
    if earlier is None or file.sha256 or file.git_sha1:
        return file
    return earlier if earlier.sha256 is not None and earlier.size == file.size else file
