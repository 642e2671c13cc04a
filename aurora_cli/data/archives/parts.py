"""Archives as they lie on a disk: in one file, or split into parts that read as one stream.

Parts are put in the order of their numbers, never of their names.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from aurora_cli.data.archives.names import is_whole_name, part_name, without_ending
from aurora_cli.data.archives.part_stream import GZIP_MAGIC


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
    def size(self) -> int:
        return sum(file.stat().st_size for file in self.files)

    @property
    def stem(self) -> str:
        """The name without `.tar`, `.tar.gz`, `.tgz`."""
        return without_ending(self.path.name)

    def parts_beside(self) -> list[Path]:
        """Parts that lie beside an archive that is in one file: what it was merged from."""
        return [] if self.is_split else next(parts for path, parts, _ in _listings([self.path]) if path == self.path)


Complaint = Callable[[Path, Sequence[Path]], str | None]
"""(archive, the files of it that are there) -> what is wrong with them, by a list that the caller has."""


def _no_complaint(archive: Path, present: Sequence[Path]) -> None:
    return None


def find_archives(roots: Iterable[Path], complaint: Complaint = _no_complaint) -> list[Archive]:
    """Every archive under `roots` (folders, archives, single parts), once each, sorted by path.

    An archive that lies there merged and in parts comes merged.
    """
    found: dict[Path, Archive] = {}
    for path, parts, whole in _listings(roots):
        if whole:
            problem = _differs_from_parts(path, parts, complaint) if parts else complaint(path, (path,))
            found[path] = Archive(path, (path,), problem)
        else:
            found[path] = _joined(path, parts, complaint)
    return [found[path] for path in sorted(found)]


def find_part_sets(roots: Iterable[Path], complaint: Complaint = _no_complaint) -> list[Archive]:
    """Every split archive under `roots`, sorted by path, whether or not it has been merged."""
    found = {path: _joined(path, parts, complaint) for path, parts, _ in _listings(roots) if parts}
    return [found[path] for path in sorted(found)]


def _listings(roots: Iterable[Path]) -> Iterator[tuple[Path, list[Path], bool]]:
    """(archive's path, its parts in no order, whether it is there in one file), folder by folder."""
    for root in roots:
        if root.is_dir():
            for folder, names in _walk(root):
                yield from _grouped(folder, names)
        elif root.is_file():
            part = part_name(root.name)
            wanted = root.with_name(part.archive) if part else root
            names = [entry.name for entry in os.scandir(root.parent) if entry.is_file()]
            yield from (group for group in _grouped(root.parent, names) if group[0] == wanted)


def _walk(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Folders and their files, through links to folders, but each folder once; names with a leading dot are ours."""
    seen: set[tuple[int, int]] = set()
    for folder, folders, names in os.walk(root, followlinks=True):
        status = Path(folder).stat()
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield Path(folder), [name for name in names if not name.startswith(".")]


def _grouped(folder: Path, names: list[str]) -> Iterator[tuple[Path, list[Path], bool]]:
    whole = {name for name in names if is_whole_name(name)}
    parts: dict[str, list[Path]] = {}
    believed: set[str] = set()
    for name in names:
        if (part := part_name(name)) is not None:
            parts.setdefault(part.archive, []).append(folder / name)
            if part.is_marked or part.is_first:
                believed.add(part.archive)
    for archive in sorted(whole | believed):
        yield folder / archive, parts[archive] if archive in believed else [], archive in whole


def _joined(path: Path, parts: list[Path], complaint: Complaint) -> Archive:
    """Put parts into their order, or say what keeps them from being joined."""
    suffixes = {part: _suffix(part) for part in parts}
    for part in parts:
        if part.stat().st_size == 0:
            return Archive(path, tuple(sorted(parts)), f"{part}: this part of {path.name} is empty")
    digits = {part for part in parts if suffixes[part].isdigit()}
    if digits and len(digits) < len(parts):
        return Archive(
            path, tuple(sorted(parts)), f"{path}: parts with numbers and parts with letters, which is first?"
        )

    first, problem = None, None
    for number_of in _numberings(list(suffixes.values())):
        numbered = sorted((number_of(suffixes[part]), part) for part in parts)
        problem = _gap(path, numbered)
        first = first or (numbered, problem)
        if problem is None:
            first = (numbered, None)
            break
    assert first is not None
    numbered, problem = first
    files = tuple(part for _, part in numbered)
    return Archive(path, files, problem or complaint(path, files))


def _suffix(part: Path) -> str:
    name = part_name(part.name)
    assert name is not None
    return name.suffix


def _numberings(suffixes: list[str]) -> Iterator[Callable[[str], int]]:
    """The ways that suffixes can count, the likelier first. `split` lengthens them: `yz`, `zaaa`; `89`, `9000`."""
    alphabet = "0123456789" if suffixes[0].isdigit() else "abcdefghijklmnopqrstuvwxyz"

    def plain(suffix: str) -> int:
        value = 0
        for letter in suffix:
            value = value * len(alphabet) + alphabet.index(letter)
        return value

    def lengthened(suffix: str) -> int:
        before, level = 0, len(alphabet) ** (shortest - 1)
        while len(suffix) > shortest and suffix[0] == alphabet[-1]:
            before += (len(alphabet) - 1) * level
            level *= len(alphabet)
            suffix = suffix[1:]
        return before + plain(suffix)

    shortest = min(map(len, suffixes))
    if len({len(suffix) for suffix in suffixes}) == 1 or suffixes[0].isdigit():
        yield plain
    if len({len(suffix) for suffix in suffixes}) > 1:
        yield lengthened


def _gap(path: Path, numbered: list[tuple[int, Path]]) -> str | None:
    """The first duplicate or missing part in a sorted list, as a message."""
    for (number, part), (following, other) in pairwise(numbered):
        if number == following:
            return f"{path}: {part.name} and {other.name} are the same part"
        if following > number + 1:
            return _missing(path, part, number + 1)
    number, part = numbered[0]
    may_be_first = number == 0 or (number == 1 and _suffix(part).isdigit() and _starts_archive(part))
    if not may_be_first:
        return _missing(path, part, 0)
    return None


def _missing(path: Path, neighbour: Path, number: int) -> str:
    suffix = _suffix(neighbour)
    if suffix.isdigit():
        name = str(number).zfill(len(suffix))
    else:
        name = ""
        for _ in suffix:
            number, letter = divmod(number, 26)
            name = chr(ord("a") + letter) + name
    return f"{path}: part {neighbour.name[: -len(suffix)]}{name} is missing"


def _starts_archive(part: Path) -> bool:
    with open(part, "rb") as file:
        head = file.read(512)
    return head.startswith(GZIP_MAGIC) or head[257:262] == b"ustar"


def _differs_from_parts(path: Path, parts: list[Path], complaint: Complaint) -> str | None:
    joined = _joined(path, parts, complaint)
    if joined.problem is None and joined.size != path.stat().st_size:
        return (
            f"{path}: has {path.stat().st_size:,} bytes, its {len(parts)} parts beside it have {joined.size:,}; "
            "remove whichever is wrong"
        )
    return None
