"""The parts of an archive in the order of their numbers, never of their names; or what keeps them from being joined."""

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

from aurora_cli.data.archives.finding.names import PartName, part_name
from aurora_cli.data.archives.reading.formats import HEAD_BYTES, starts_archive


def in_order(path: Path, parts: list[Path]) -> tuple[list[Path], str | None]:
    """The parts of the archive `path` as they follow each other, and the problem that they have."""
    names = {part: _name(part) for part in parts}
    by_name = sorted(parts)
    for part in parts:
        if part.stat().st_size == 0:
            return by_name, f"{part}: this part of {path.name} is empty"
    digits = {part for part in parts if names[part].suffix.isdigit()}
    if digits and len(digits) < len(parts):
        return by_name, f"{path}: parts with numbers and parts with letters, which is first?"
    totals = sorted({name.total for name in names.values()}, key=str)
    if len(totals) > 1:
        return by_name, f"{path}: its parts do not agree on how many they are ({', '.join(map(str, totals))})"

    first = None
    for number_of in _numberings([name.suffix for name in names.values()]):
        numbered = sorted((number_of(names[part].suffix), part) for part in parts)
        problem = _gap(path, numbered, totals[0])
        if problem is None:
            return [part for _, part in numbered], None
        first = first or (numbered, problem)
    assert first is not None
    numbered, problem = first
    return [part for _, part in numbered], problem


def _name(part: Path) -> PartName:
    name = part_name(part.name)
    assert name is not None
    return name


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


def _gap(path: Path, numbered: list[tuple[int, Path]], total: int | None) -> str | None:
    """The first duplicate or missing part in a sorted list, as a message."""
    for (number, part), (following, other) in pairwise(numbered):
        if number == following:
            return f"{path}: {part.name} and {other.name} are the same part"
        if following > number + 1:
            return _missing(path, part, number + 1)
    first, part = numbered[0]
    may_be_first = first == 0 or (first == 1 and _name(part).suffix.isdigit() and _starts_archive(part))
    if not may_be_first:
        return _missing(path, part, 0)
    last, part = numbered[-1]
    if total is not None and len(numbered) < total:
        return _missing(path, part, last + 1)
    if total is not None and len(numbered) > total:
        return f"{path}: {part.name} is one more than the {total} parts that its name speaks of"
    return None


def _missing(path: Path, neighbour: Path, number: int) -> str:
    suffix = _name(neighbour).suffix
    if suffix.isdigit():
        name = str(number).zfill(len(suffix))
    else:
        name = ""
        for _ in suffix:
            number, letter = divmod(number, 26)
            name = chr(ord("a") + letter) + name
    if _name(neighbour).total is None:
        return f"{path}: part {neighbour.name[: -len(suffix)]}{name} is missing"
    return f"{path}: part {path.name}{neighbour.name[len(path.name) :].replace(suffix, name, 1)} is missing"


def _starts_archive(part: Path) -> bool:
    with open(part, "rb") as file:
        return starts_archive(file.read(HEAD_BYTES))
