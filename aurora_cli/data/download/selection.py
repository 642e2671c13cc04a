"""Which files of a data set are asked for: by split, subset and globs."""

import difflib
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from aurora_cli.config.settings import DownloadSettings
from aurora_cli.data.download.manifest import RemoteFile
from aurora_cli.errors import DataError, UsageError

_LOOK = "See what is there: aurora download --dry-run"

ANNOTATIONS = (".jsonl", ".jsonl.gz", ".json", ".json.gz")


def select(files: Iterable[RemoteFile], options: DownloadSettings) -> list[RemoteFile]:
    """The files that `options` asks for, by path; hidden ones (`.gitattributes`) are never asked for.

    Raises:
        UsageError: an unknown split or subset, or a glob that no file matches (the message has near names), or together
            they leave nothing
        DataError: the data set is empty, or a path leads out of the folder
    """
    listed = sorted((file for file in files if not _is_hidden(file.path)), key=lambda file: file.path)
    for file in listed:
        if file.path.startswith("/") or ".." in file.path.split("/") or "\0" in file.path:
            raise DataError(f"{options.repo}: lists {file.path!r}, a path that leads out of the data folder")
    if not listed:
        raise DataError(
            f"{options.repo}: is empty", hint="Is it the right one? The published set: --repo wchai/AuroraCap-trainset"
        )

    _check_known("split", options.splits, {file.split for file in listed} - {""})
    in_splits = [file for file in listed if _in_splits(file, options)]
    subsets = {file.subset for file in in_splits} - {""}
    _check_known("subset", options.subsets, {subset.split("/")[1] for subset in subsets} | subsets)

    _check_included(options, listed)

    selected = [file for file in in_splits if all(condition(file, options) for condition in _CONDITIONS)]
    if not selected:
        fields = {
            "splits": options.splits,
            "subsets": options.subsets,
            "annotations_only": options.annotations_only,
            "include": options.include,
            "exclude": options.exclude,
        }
        given = ", ".join(f"download.{name}" for name, value in fields.items() if value)
        raise UsageError(f"{given}: none of the {len(listed):,} files of {options.repo} is selected", hint=_LOOK)
    return selected


def _in_splits(file: RemoteFile, options: DownloadSettings) -> bool:
    return not options.splits or file.split in options.splits


def _in_subsets(file: RemoteFile, options: DownloadSettings) -> bool:
    return not options.subsets or not {file.subset, file.subset.rpartition("/")[2]}.isdisjoint(options.subsets)


def _is_kind_wanted(file: RemoteFile, options: DownloadSettings) -> bool:
    is_annotation = bool(file.subset) and file.path.endswith(ANNOTATIONS)
    return is_annotation or not options.annotations_only


def _is_included(file: RemoteFile, options: DownloadSettings) -> bool:
    return not options.include or _matches(file.path, options.include)


def _is_not_excluded(file: RemoteFile, options: DownloadSettings) -> bool:
    return not _matches(file.path, options.exclude)


_CONDITIONS = (_in_subsets, _is_kind_wanted, _is_included, _is_not_excluded)
"""All of them hold for a file that is selected."""


def _is_hidden(path: str) -> bool:
    return any(step.startswith(".") and step != ".." for step in path.split("/"))


def _matches(path: str, globs: Iterable[str]) -> bool:
    name = PurePosixPath(path).name
    return any(fnmatchcase(path, glob) or fnmatchcase(name, glob) for glob in globs)


def _check_included(options: DownloadSettings, listed: Iterable[RemoteFile]) -> None:
    paths = [file.path for file in listed]
    for glob in options.include:
        if not any(_matches(path, [glob]) for path in paths):
            names = {PurePosixPath(path).name for path in paths}
            guess = did_you_mean(glob, names | {*paths})
            raise UsageError(f"download.include: no file of {options.repo} matches {glob!r}{guess}", hint=_LOOK)


def _check_known(what: str, requested: Iterable[str], there: set[str]) -> None:
    for name in requested:
        if name not in there:
            guess = did_you_mean(name, there)
            plain = sorted(entry for entry in there if "/" not in entry)
            raise UsageError(
                f"download.{what}s: there is no {what} {name!r}{guess}", hint=f"There are: {', '.join(plain)}"
            )


def did_you_mean(name: str, there: set[str]) -> str:
    """The end of an error's sentence; empty, if no name is near."""
    near = difflib.get_close_matches(name, sorted(there), n=3, cutoff=0.5)
    return f"; did you mean {' or '.join(near)}?" if near else ""
