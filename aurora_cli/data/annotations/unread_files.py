"""What lies where annotations are looked for and is not read as such: named, with what to type.

data/<split>/<subset>/*.jsonl    is read
data/*.jsonl, data/<split>/*.jsonl, data/<split>/<subset>/<folder>/*.jsonl    lie a level too high or too deep
data/<split>/<subset>/*.json, *.csv, *.parquet, tars of records    are read when they are named, or not at all
data/<split>/<subset>/*.jsonl.zst, *.JSONL, texts beside images    are not read as they are
"""

import contextlib
import os
import re
import shlex
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from aurora_cli.constants import REJECTS_FILE
from aurora_cli.data.annotations.remedies import (
    OBJECT_SUFFIXES,
    TABLE_SUFFIXES,
    TAR_SUFFIXES,
    is_compressed,
    remedy_by_name,
)
from aurora_cli.data.annotations.schemas import SIGNS
from aurora_cli.data.annotations.sources import LINE_SUFFIXES
from aurora_cli.errors import DataError

OURS = frozenset({"download.json", REJECTS_FILE})
"""What steps write about their own work."""

FOLDERS, DEPTH, FILES, MEMBERS, TARS, OPENED = 50, 3, 2_000, 12, 3, 20
"""How many folders, how deep, files in a folder, members of a tar, tars and `.json` are looked at."""

SHOWN = 5
"""How many a message names."""

ARROW = ".arrow"

TEXT_MEMBER = re.compile(r"\.(json|txt|caption|cls)$")
TEXT_BESIDE = (".txt", ".caption")
MEDIUM_MEMBER = re.compile(r"\.(jpe?g|png|webp|gif|bmp|mp4|webm|avi|mkv|mov)$", re.IGNORECASE)


class UnreadFile(NamedTuple):
    """A file that is not read as annotations."""

    path: Path
    what: str
    """What it is, and why it is not read."""
    hint: str
    """What to type."""

    def __str__(self) -> str:
        return f"{self.path}: not read: {self.what}"


def no_annotations(data: Path, unread: Sequence[UnreadFile]) -> DataError:
    """The error that there are no annotations in a data folder, with what lies there instead."""
    named = "".join(f"\n  {file}" for file in unread[:SHOWN])
    more = f"\n  ... and {len(unread) - SHOWN:,} more" if len(unread) > SHOWN else ""
    hint = unread[0].hint if unread else "aurora download"
    return DataError(f"{data}: holds no annotations (<split>/<subset>/*.jsonl){named}{more}", hint=hint)


def unread_files(data: Path, *, splits: Iterable[str] = (), subsets: Iterable[str] = ()) -> list[UnreadFile]:
    """The files of a data folder that look like annotations, or hold some, and are not read.

    Of these splits and subsets, or of all; in a subset that has annotations, only a `.json` that begins as records do.
    """
    splits, subsets = set(splits), set(subsets)
    found = [*_too_high(data, "a split and a subset")] if not splits and not subsets else []
    for split in _folders(data):
        if splits and split.name not in splits:
            continue
        found += _too_high(split, "a subset") if not subsets else []
        for subset in _folders(split):
            if not subsets or subset.name in subsets:
                found += _in_subset(subset)
    return found


def _too_high(folder: Path, missing: str) -> Iterator[UnreadFile]:
    for file in _files(folder):
        if file.name.endswith(LINE_SUFFIXES) or (file.name.endswith(OBJECT_SUFFIXES) and looks_like_records(file)):
            yield UnreadFile(file, f"it lies above the folder of {missing}", _tokenize(file))


def _in_subset(subset: Path) -> list[UnreadFile]:
    files = _files(subset)
    has_annotations = any(file.name.endswith(LINE_SUFFIXES) for file in files)
    found = [
        UnreadFile(file, "a .json may be anything, and is read when it is named", _tokenize(file))
        for file in files
        if file.name.lower().endswith(OBJECT_SUFFIXES) and (not has_annotations or looks_like_records(file))
    ]
    found += [UnreadFile(file, what, remedy_by_name(file) or "") for file in files if (what := _misnamed(file))]
    if has_annotations:
        return found
    for file in files:
        if file.name.endswith((*TABLE_SUFFIXES, ARROW)):
            what = "a table; records are read from JSON, one a line"
            found.append(UnreadFile(file, what, _write(subset) if file.suffix == ARROW else _import(file, subset)))
    for tar in [file for file in files if file.name.endswith(TAR_SUFFIXES)][:TARS]:
        if (pair := pair_in(tar)) is not None:
            what = f"a WebDataset tar, texts beside their media ({pair[0]}, {pair[1]}); records are read from a .jsonl"
            found.append(UnreadFile(tar, what, _import(tar, subset)))
            break
    found += [UnreadFile(file, "it lies below the subset's folder", _tokenize(file)) for file in _too_deep(subset)]
    if not found and (text := text_beside_medium(subset)) is not None:
        found.append(UnreadFile(text, "texts beside their images or videos", _import(subset, subset)))
    return found


def _misnamed(file: Path) -> str | None:
    """Why a file that is called like annotations, but for its suffix, is not read; none: it is not called so."""
    if is_compressed(file):
        return f"compressed by {file.suffix.lower()[1:]}; plain lines or .gz were expected"
    name = file.name.lower()
    if name != file.name and name.endswith(LINE_SUFFIXES) and not file.name.endswith(LINE_SUFFIXES):
        return "its suffix is in capital letters"
    return None


def _too_deep(subset: Path) -> Iterator[Path]:
    """Annotations in the folders of a subset, and in theirs."""
    level = [subset]
    for _ in range(DEPTH):
        level = [inner for folder in level for inner in _folders(folder)][:FOLDERS]
        for file in (file for folder in level for file in _files(folder)[:OPENED]):
            if file.name.endswith(LINE_SUFFIXES) or (file.name.endswith(".json") and looks_like_records(file)):
                yield file


def text_beside_medium(folder: Path) -> Path | None:
    """The first text that has the name of an image or video in the same folder; none: there is none."""
    names = {entry.name for entry in _entries(folder)[:FILES]}
    media = {name.rpartition(".")[0] for name in names if MEDIUM_MEMBER.search(name)}
    found = [name for name in names if name.endswith(TEXT_BESIDE) and name.rpartition(".")[0] in media]
    return folder / min(found) if found else None


def _tokenize(file: Path) -> str:
    """A name with a suffix in capital letters is mended first."""
    if not file.name.endswith((*LINE_SUFFIXES, *OBJECT_SUFFIXES)):
        return remedy_by_name(file) or ""
    return f"aurora tokenize {shlex.quote(str(file))}"


def _import(file: Path, subset: Path) -> str:
    """Into a subset beside the one that it lies in, which stays as it is."""
    return f"aurora import {shlex.quote(str(file))} --split {subset.parent.name} --as {subset.name}-imported"


def _write(subset: Path) -> str:
    return f"write a record for each into {subset / subset.name}.jsonl, as docs/own-data.md shows"


def looks_like_records(file: Path) -> bool:
    """Whether a `.json` begins as a list of records does."""
    if file.name.endswith(".gz"):
        return True
    with contextlib.suppress(OSError), open(file, "rb") as opened:
        head = opened.read(1 << 16)
        return any(f'"{sign}"'.encode() in head for sign in SIGNS)
    return False


def pair_in(tar: Path) -> tuple[str, str] | None:
    """A text and a medium of the same name among the first members of a tar; none: there are none."""
    names: dict[str, str] = {}
    with contextlib.suppress(OSError, EOFError, tarfile.TarError), tarfile.open(tar, "r|*") as opened:
        for member in islice(opened, MEMBERS):
            stem, _, suffix = member.name.rpartition("/")[2].partition(".")
            name = f"{stem}.{suffix}"
            other = names.setdefault(member.name.removesuffix(suffix), name)
            for text, medium in ((name, other), (other, name)):
                if TEXT_MEMBER.search(text) and MEDIUM_MEMBER.search(medium):
                    return text, medium
    return None


def _folders(folder: Path) -> list[Path]:
    return [Path(entry) for entry in _entries(folder) if entry.is_dir()]


def _files(folder: Path) -> list[Path]:
    """The files of a folder that may be annotations or hold them; of a very full one, of its first files."""
    suffixes = (*LINE_SUFFIXES, *OBJECT_SUFFIXES, *TABLE_SUFFIXES, *TAR_SUFFIXES, ARROW)
    entries = [
        entry
        for entry in _entries(folder)
        if (entry.name.lower().endswith(suffixes) or is_compressed(Path(entry.name))) and entry.name not in OURS
    ]
    return [Path(entry) for entry in entries[:FILES] if entry.is_file()]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    return []
