"""What `aurora tokenize` is to do: which annotation files go into which folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aurora_cli.config.settings import TokenizeSettings
from aurora_cli.config.workspace import VALIDATION, Workspace, check_folder
from aurora_cli.data.annotations.files import SUFFIXES, is_annotation_file
from aurora_cli.data.annotations.remedies import remedy_by_name
from aurora_cli.data.annotations.sources import LINE_SUFFIXES, AnnotationSource, annotation_sources
from aurora_cli.data.annotations.unread_files import no_annotations, unread_files
from aurora_cli.data.media.root import check_root
from aurora_cli.errors import DataError, UsageError

OTHER_SPLIT = "other"
"""Of files that lie in no split."""


@dataclass(frozen=True)
class TokenizeJob:
    """Files that become the shards of one folder, in order."""

    sources: tuple[AnnotationSource, ...]
    output: Path


def plan_jobs(settings: TokenizeSettings, workspace: Workspace) -> list[TokenizeJob]:
    """A job for all inputs that the settings name, or one for each subset of the workspace, and for what of it is kept
    from training.

    Raises:
        DataError: there is nothing to tokenize, or no such folder as the media are to be in.
        UsageError: an input is of no known kind, it is unclear where its shards go, or that is a file.
    """
    check_media_root(settings, workspace)
    if settings.output is not None:
        check_folder(workspace.path(settings.output), "tokenize.output")
    if settings.inputs:
        files = [file for given in settings.inputs for file in files_of(workspace.path(given))]
        outputs = [workspace.path(settings.output)] if settings.output else outputs_of(files, settings, workspace)
        if len(outputs) > 1:
            raise UsageError(
                f"the inputs belong to {len(outputs)} subsets: {', '.join(output.name for output in outputs)}",
                hint="Say where all of them go together with --output, or tokenize one subset at a time.",
            )
        return [TokenizeJob(annotation_sources(files, settings, workspace), outputs[0])]
    subsets = subsets_of(settings, workspace)
    if settings.output:
        files = [file for folder in subsets for file in subsets[folder]]
        return [TokenizeJob(annotation_sources(files, settings, workspace), workspace.path(settings.output))]
    jobs = [
        TokenizeJob(
            annotation_sources(files, settings, workspace), workspace.tokenized / folder.parent.name / folder.name
        )
        for folder, files in subsets.items()
    ]
    return jobs + [
        TokenizeJob(
            annotation_sources(files, settings, workspace),
            workspace.tokenized / VALIDATION / folder.parent.name / folder.name,
        )
        for folder, files in _wanted(_by_folder(workspace.validation), settings).items()
    ]


def check_media_root(settings: TokenizeSettings, workspace: Workspace) -> None:
    """Not a record could be kept if all media are looked for in a folder that is not there.

    Raises:
        DataError: that is so.
    """
    if settings.check_media and settings.media_root is not None:
        check_root(workspace.path(settings.media_root), "tokenize.media_root")


def files_of(path: Path) -> list[Path]:
    """An annotation file, or those in a folder, at any depth."""
    if path.is_dir():
        found = sorted(
            file for file in path.rglob("*") if file.name.endswith(LINE_SUFFIXES) and is_annotation_file(file)
        )
        if not found:
            raise DataError(
                f"{path}: holds no annotation file ({', '.join(LINE_SUFFIXES)})", hint=f"aurora import {path}"
            )
        return found
    if not path.exists():
        raise DataError(f"{path}: there is no such file", hint="aurora download")
    if not path.name.endswith(SUFFIXES):
        raise UsageError(
            f"{path}: is no annotation file; expected one of {', '.join(SUFFIXES)}", hint=remedy_by_name(path)
        )
    return [path]


def outputs_of(files: Sequence[Path], settings: TokenizeSettings, workspace: Workspace) -> list[Path]:
    """Where shards go when nobody says: their subset's folder; for a file outside `data/`, one of the file's name."""
    names = []
    for file in files:
        above = next((root for root in (workspace.data, workspace.validation) if _is_in_subset(file, root)), None)
        named = (OTHER_SPLIT, file.name.split(".")[0]) if above is None else file.relative_to(above).parts[:2]
        split, subset = named
        if len(settings.splits) == 1:
            split = settings.splits[0]
        if len(settings.subsets) == 1:
            subset = settings.subsets[0]
        root = workspace.tokenized / VALIDATION if above == workspace.validation else workspace.tokenized
        names.append(root / split / subset)
    return list(dict.fromkeys(names))


def _is_in_subset(file: Path, root: Path) -> bool:
    return file.is_relative_to(root) and len(file.relative_to(root).parts) > 2


def subsets_of(settings: TokenizeSettings, workspace: Workspace) -> dict[Path, list[Path]]:
    """The annotation files of each subset of the workspace that the settings ask for."""
    found = _by_folder(workspace.data)
    if not found:
        raise no_annotations(workspace.data, unread_files(workspace.data))
    wanted = _wanted(found, settings)
    if not wanted:
        present = ", ".join(f"{folder.parent.name}/{folder.name}" for folder in found)
        if unread := unread_files(workspace.data, splits=settings.splits, subsets=settings.subsets):
            raise no_annotations(workspace.data, unread)
        raise DataError(f"no subset is called so; in {workspace.data} there are: {present}", hint="aurora download")
    return wanted


def _wanted(found: dict[Path, list[Path]], settings: TokenizeSettings) -> dict[Path, list[Path]]:
    """Those of the splits and subsets that the settings ask for."""
    return {
        folder: files
        for folder, files in found.items()
        if (not settings.splits or folder.parent.name in settings.splits)
        and (not settings.subsets or folder.name in settings.subsets)
    }


def _by_folder(root: Path) -> dict[Path, list[Path]]:
    """The annotation files of each subset's folder below `root`."""
    found: dict[Path, list[Path]] = {}
    for file in sorted(root.glob("*/*/*")):
        if file.name.endswith(LINE_SUFFIXES) and is_annotation_file(file):
            found.setdefault(file.parent, []).append(file)
    return found
