"""Archives as they lie on a disk: in one file, or split into parts that read as one stream."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from aurora_cli.data.archives.finding.listing import files_below
from aurora_cli.data.archives.finding.names import archive_of, is_whole_name, part_name, volume_name, without_ending
from aurora_cli.data.archives.finding.part_order import in_order


@dataclass(frozen=True)
class Archive:
    """An archive's name, and the files that hold its bytes in their order."""

    path: Path
    """Its own name, whether or not the parts have been merged into a file of it."""
    files: tuple[Path, ...]
    problem: str | None = None
    """Why the files cannot be joined; none: they can."""

    @property
    def is_split(self) -> bool:
        return self.files != (self.path,)

    @property
    def is_in_volumes(self) -> bool:
        """Whether it is a split zip, which joining would not make whole."""
        return self.is_split and self.path in self.files

    @property
    def size(self) -> int:
        return sum(file.stat().st_size for file in self.files)

    @property
    def stem(self) -> str:
        """The name without `.tar`, `.tar.gz`, `.zip`."""
        return without_ending(self.path.name)

    def parts_beside(self) -> list[Path]:
        """Parts that lie beside an archive that is in one file: what it was merged from."""
        return [] if self.is_split else next(group.parts for group in _groups([self.path]) if group.path == self.path)


Complaint = Callable[[Path, Sequence[Path]], str | None]
"""(archive, the files of it that are there) -> what is wrong with them, by a list that the caller has."""


def _no_complaint(archive: Path, present: Sequence[Path]) -> None:
    return None


def find_archives(roots: Iterable[Path], complaint: Complaint = _no_complaint) -> list[Archive]:
    """Every archive under `roots` (folders, archives, single parts), once each, sorted by path.

    An archive that lies there merged and in parts comes merged.
    """
    found: dict[Path, Archive] = {}
    for group in _groups(roots):
        path = group.path
        if group.volumes:
            found[path] = _of_volumes(group, complaint)
        elif group.is_whole:
            problem = _differs_from_parts(group, complaint) if group.parts else complaint(path, (path,))
            found[path] = Archive(path, (path,), problem)
        else:
            found[path] = _joined(group, complaint)
    return [found[path] for path in sorted(found)]


def find_part_sets(roots: Iterable[Path], complaint: Complaint = _no_complaint) -> list[Archive]:
    """Every archive under `roots` whose parts are it when they are joined, sorted by path, merged or not."""
    found = {group.path: _joined(group, complaint) for group in _groups(roots) if group.parts}
    return [found[path] for path in sorted(found)]


class _Group(NamedTuple):
    """The files of one folder that are one archive."""

    path: Path
    is_whole: bool
    """Whether a file of that name is there."""
    parts: list[Path]
    """In no order."""
    volumes: list[Path]
    """Of a split zip, but for the last, in no order."""


def _groups(roots: Iterable[Path]) -> Iterator[_Group]:
    for root in roots:
        wanted = None if root.is_dir() else archive_of(root.name) or root.name
        for folder, names in files_below(root):
            yield from (group for group in _grouped(folder, names) if wanted in (None, group.path.name))


def _grouped(folder: Path, names: list[str]) -> Iterator[_Group]:
    whole = {name for name in names if is_whole_name(name)}
    parts: dict[str, list[Path]] = {}
    volumes: dict[str, list[Path]] = {}
    believed: set[str] = set()
    for name in names:
        if (part := part_name(name)) is not None:
            parts.setdefault(part.archive, []).append(folder / name)
            if part.is_marked or part.is_first:
                believed.add(part.archive)
        elif (volume := volume_name(name)) is not None:
            volumes.setdefault(volume.archive, []).append(folder / name)
    for archive in sorted(whole | believed | set(volumes)):
        found = parts[archive] if archive in believed else []
        yield _Group(folder / archive, archive in whole, found, volumes.get(archive, []))


def _joined(group: _Group, complaint: Complaint) -> Archive:
    parts, problem = in_order(group.path, group.parts)
    return Archive(group.path, tuple(parts), problem or complaint(group.path, parts))


def _differs_from_parts(group: _Group, complaint: Complaint) -> str | None:
    path, joined = group.path, _joined(group, complaint)
    if joined.problem is None and joined.size != path.stat().st_size:
        return (
            f"{path}: has {path.stat().st_size:,} bytes, its {len(group.parts)} parts beside it have {joined.size:,}; "
            "remove whichever is wrong"
        )
    return None


def _of_volumes(group: _Group, complaint: Complaint) -> Archive:
    """A split zip: its volumes by their numbers, from 1 on, and the last, which has the archive's own name."""
    numbered = sorted((volume.number, file) for file in group.volumes if (volume := volume_name(file.name)))
    files = (*(file for _, file in numbered), group.path)
    for wanted, (number, file) in enumerate(numbered, start=1):
        if number > wanted:
            missing = f"{group.path.stem}{file.suffix[:2]}{wanted:02}"
            return Archive(group.path, files, f"{group.path}: part {missing} is missing")
        if number < wanted:
            return Archive(group.path, files, f"{group.path}: {file.name} is there twice, in two spellings")
    if not group.is_whole:
        return Archive(group.path, files, f"{group.path}: is missing, the last part of {numbered[0][1].name}")
    return Archive(group.path, files, complaint(group.path, files))
