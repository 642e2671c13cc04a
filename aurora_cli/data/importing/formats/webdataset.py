"""WebDataset tars: members of one name, `000012.jpg` and `000012.txt` (`.caption`, `.json`), are a row.

The tars stay where they are and are not unpacked: each gets an index, by which the media are read from it. Memory is
that of one row.
"""

import re
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from aurora_cli.console import Advance
from aurora_cli.data.annotations.records import Rejection
from aurora_cli.data.annotations.unread_files import pair_in
from aurora_cli.data.importing.format import ImportFormat, Opened, Options, Rows, SharedArchive
from aurora_cli.data.importing.formats.folder import texts_of
from aurora_cli.data.importing.item import Item, Refused
from aurora_cli.data.media.kinds import IMAGE_SUFFIXES, VIDEO_SUFFIXES, MediaKind
from aurora_cli.errors import DataError

SUFFIXES = (".tar", ".tar.gz", ".tgz")
TEXTS = ("txt", "caption", "json")
"""The first that a row has is read: by itself, else behind other words (`0001.caption.txt`)."""

LONGEST_TEXT = 1 << 24
ENDING = re.compile(r"\.(tar\.gz|tgz|tar)$", re.IGNORECASE)


class _Member(NamedTuple):
    name: str
    suffix: str
    """Behind the first dot, small."""
    content: bytes | None
    """Of a text."""


def tars_of(source: Path) -> list[Path]:
    """The tars of a source, a file or a folder, in the order of their names."""
    if source.is_file():
        return [source]
    return sorted(path for path in source.iterdir() if path.name.lower().endswith(SUFFIXES) and path.is_file())


def suits(source: Path) -> bool:
    """By the first members of the first tar."""
    if source.is_file() and not source.name.lower().endswith(SUFFIXES):
        return False
    tars = tars_of(source)
    return bool(tars) and pair_in(tars[0]) is not None


def open_tars(source: Path, options: Options) -> Opened:
    """
    Raises:
        DataError: there is no tar.
    """
    tars = tars_of(source)
    if not tars:
        raise DataError(f"{source}: holds no tar ({', '.join(SUFFIXES)})")
    archives = tuple(SharedArchive(ENDING.sub("", tar.name), tar) for tar in tars)

    def rows(advance: Advance) -> Rows:
        for archive in archives:
            yield from tar_rows(archive, options, advance)

    count = f"{len(tars)} tar" + ("s" if len(tars) > 1 else "")
    about = (f"a WebDataset in {count}, read where {'they lie' if len(tars) > 1 else 'it lies'} by an index",)
    return Opened(tuple(tars), source, about, rows, is_root_known=True, archives=archives)


def tar_rows(archive: SharedArchive, options: Options, advance: Advance) -> Rows:
    """The rows of one tar: members that follow each other and are called alike."""
    row: list[_Member] = []
    key, number, done = None, 0, 0
    try:
        with tarfile.open(archive.path) as tar:
            while (member := tar.next()) is not None:
                vars(tar)["members"].clear()  # it would keep all of them
                if not member.isreg() or (named := _split(member.name)) is None:
                    continue
                if named[0] != key and row:
                    number += 1
                    yield from _rows(archive, number, row, options)
                    row = []
                key = named[0]
                row.append(_member(tar, member, named[1]))
                if member.offset - done > 1 << 22:
                    advance(min(member.offset, archive.path.stat().st_size) - done)
                    done = member.offset
    except (tarfile.TarError, EOFError, OSError) as error:
        if row:
            number += 1
            yield from _rows(archive, number, row, options)
        name = archive.path.name
        yield Refused(name, number + 1, f"{name}:{number + 1}", "broken_archive", str(error))
        return
    if row:
        yield from _rows(archive, number + 1, row, options)


def _split(name: str) -> tuple[str, str] | None:
    """A member's key and suffix: up to the first dot of its file name, and behind it. None: it is hidden."""
    folder, slash, base = name.removeprefix("./").rpartition("/")
    stem, dot, suffix = base.partition(".")
    return (f"{folder}{slash}{stem}", suffix.lower()) if stem and dot else None


def _member(tar: tarfile.TarFile, member: tarfile.TarInfo, suffix: str) -> _Member:
    content = None
    if (
        suffix.rpartition(".")[2] in TEXTS
        and member.size <= LONGEST_TEXT
        and (file := tar.extractfile(member)) is not None
    ):
        content = file.read()
    return _Member(member.name.removeprefix("./"), suffix, content)


def _rows(archive: SharedArchive, number: int, row: list[_Member], options: Options) -> Iterator[Item | Refused]:
    file = archive.path.name
    name = f"{archive.name}/{row[0].name.rpartition('/')[2].partition('.')[0]}"
    media = [member for member in row if _kind(member.suffix) is not None]
    media = [member for member in media if "." not in member.suffix] or media
    texts = {member.suffix: member for member in row if member.content is not None}
    try:
        if not media:
            raise Rejection("no_media", ", ".join(member.name for member in row))
        if len(media) > 1:
            raise Rejection("bad_media", f"several: {', '.join(member.name for member in media)}")
        text = next((texts[suffix] for suffix in TEXTS if suffix in texts), None) or _text_behind_words(texts)
        if text is None or text.content is None:
            raise Rejection("no_caption", ", ".join(member.name for member in row))
        captions = texts_of(text.name, text.content, options)
    except Rejection as rejection:
        yield Refused(file, number, name, rejection.reason, rejection.detail)
        return
    path, kind = f"{archive.name}/{media[0].name}", _kind(media[0].suffix)
    for at, caption in enumerate(captions):
        yield Item(file, number, name if len(captions) == 1 else f"{name}#{at}", (path,), kind, caption)


def _text_behind_words(texts: Mapping[str, _Member]) -> _Member | None:
    """The one text of a row whose suffix has words before it.

    Raises:
        Rejection: there are several.
    """
    for ending in TEXTS:
        found = [member for suffix, member in texts.items() if suffix.endswith(f".{ending}")]
        if len(found) > 1:
            raise Rejection("no_caption", f"several: {', '.join(member.name for member in found)}")
        if found:
            return found[0]
    return None


def _kind(suffix: str) -> MediaKind | None:
    ending = "." + suffix.rpartition(".")[2]
    return "image" if ending in IMAGE_SUFFIXES else "video" if ending in VIDEO_SUFFIXES else None


FORMAT = ImportFormat("webdataset", "a .tar, or a folder of them, with 0001.jpg and 0001.txt", suits, open_tars, rank=2)
