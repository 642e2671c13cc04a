"""Files that look like archives, or like parts of them, and that no step reads: named with what to do about them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from aurora_cli.data.archives.finding.listing import files_below
from aurora_cli.data.archives.finding.names import READ_KINDS, archive_of, is_whole_name, part_name

_TAR = r"\.(?:tar(?:\.(?:gz|bz2|xz|zst))?|tgz|tbz2?|txz|tzst)"
_NAMES: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), what, remedy)
    for pattern, what, remedy in (
        (
            rf".+(?:{_TAR}|\.zip|\.7z|\.rar)(?:\..+)?\.(?:part|partial|crdownload|download|incomplete|filepart|!ut)",
            "a download that has not come to its end",
            "let the program that began it finish, or remove it",
        ),
        (
            r".+\.7z\.\d+",
            "a volume of a 7z archive",
            "unpack it with `7z x` on the first volume, which reads the others",
        ),
        (r".+\.7z", "a 7z archive", "unpack it with `7z x`"),
        (r".+\.part\d+\.rar|.+\.r\d\d", "a volume of a rar archive", "unpack it with `unrar x` on the first volume"),
        (r".+\.rar", "a rar archive", "unpack it with `unrar x`"),
        (r".+\.zip\.zx?\d+|.+\.zx\d\d", "a volume of a split zip", "unpack it with the program that made it"),
        (
            rf".+{_TAR}\.(?:lz4|lz|lzma|lzo|z|br|lrz|sz|7z|rar|gpg|enc|aes)|.+\.(?:tlz|taz|tlz4)",
            "a tar compressed or encrypted in a way that is not read",
            "make a .tar of it, or a .tar.zst",
        ),
        (r".+\.(?:cpio|ace|arj|lzh|lha|cab|squashfs|sqfs|zpaq|wim|dmg|iso)", "an archive", "unpack it where it lies"),
    )
)
_COMPANIONS = re.compile(
    r".+\.(?:md5|sha\d*|sha\d+sums?|md5sums?|sfv|asc|sig|sign|torrent|aria2|metalink|meta4|par2|json|jsonl|txt|md|csv|tsv"
    r"|yaml|yml|xml|html?|pdf|log|lock|index|idx|url|lnk|parquet|metadata)",
    re.IGNORECASE,
)
"""What lies beside archives and is none."""

_LIKE_A_PART = re.compile(
    rf".+(?:{_TAR}|\.zip)\b(?:.*\d.*|.*(?:part|split|chunk|piece|vol).*|[._-][a-z]{{1,2}})", re.IGNORECASE
)

_HINT = re.compile(r"\.(?:t[abglxz]|z|7z|r[\da]|part|cpio|a[cr]|l[zh]|cab|sq|wim|dmg|iso)", re.IGNORECASE)
"""In the name of everything that is an archive or looks like one; in few others."""


@dataclass(frozen=True)
class UnreadArchive:
    """A file that is left where it is."""

    path: Path
    what: str
    remedy: str

    @property
    def message(self) -> str:
        return f"{self.path}: is {self.what}; {self.remedy}"


def find_unread(roots: Iterable[Path]) -> list[UnreadArchive]:
    """What lies under `roots` (a file: itself) and looks like an archive that is not read, sorted by path."""
    found: dict[Path, UnreadArchive] = {}
    for root in roots:
        for folder, names in files_below(root):
            read = _parts_that_are_read(names)
            for name in names:
                is_wanted = root.is_dir() or name == root.name
                if is_wanted and name not in read and (reason := _reason(name)) is not None:
                    found[folder / name] = UnreadArchive(folder / name, *reason)
    return [found[path] for path in sorted(found)]


def looks_like_archive(name: str) -> bool:
    """Whether a file of this name is an archive or a part of one, read or not.

    >>> [looks_like_archive(name) for name in ("a.zip", "a.7z", "a.tar.gz.part_001", "a.jpg")]
    [True, True, True, False]
    """
    return _HINT.search(name) is not None and (archive_of(name) is not None or _reason(name) is not None)


def _parts_that_are_read(names: list[str]) -> set[str]:
    """Whole archives, parts, and volumes; of parts whose names do not say so, those that have a first."""
    parts = {name: part for name in names if (part := part_name(name)) is not None}
    believed = {part.archive for part in parts.values() if part.is_marked or part.is_first}
    return {name for name in names if archive_of(name) is not None} - {
        name for name, part in parts.items() if part.archive not in believed
    }


def _reason(name: str) -> tuple[str, str] | None:
    """What a file of this name is, and what to do about it; none: it does not look like an archive.

    >>> _reason("images.7z")
    ('a 7z archive', 'unpack it with `7z x`')
    >>> _reason("images.tar.gz.sha256"), _reason("images.jsonl.gz")
    (None, None)
    """
    for pattern, what, remedy in _NAMES:
        if pattern.fullmatch(name):
            return what, remedy
    if _COMPANIONS.fullmatch(name) or not _LIKE_A_PART.fullmatch(name) or is_whole_name(name):
        return None
    return (
        "called like a part of an archive, but not in a way that says which",
        f"call the parts NAME.tar.gz.part_000, .part_001 and so on, or join them to one file ({READ_KINDS})",
    )
