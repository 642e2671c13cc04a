"""What the name of a file says about archives: is it one, or a part of one, and of which.

Published parts are `NAME.tar.gz.part_000`; other tools write `NAME.tar.gz_part0`, `NAME.tar.part-aa`,
`NAME.tar.gz.partaa`, `NAME.tar.gz.000`, `NAME.tar.gz.aa`, `NAME.tar.gz-00000-of-00004`. Joined, they are the archive.

The volumes of a split zip, `NAME.z01 ... NAME.zip`, are something else: one behind the other they are no zip that other
tools read, as each place in it is counted from the beginning of its volume.
"""

import re
from typing import NamedTuple

_KINDS = r"tar|tar\.gz|tgz|tar\.bz2|tbz2?|tar\.xz|txz|tar\.zst|tzst|zip"
READ_KINDS = ".tar, .tar.gz, .tar.bz2, .tar.xz, .tar.zst, .zip"
"""For messages; short forms (.tgz, .tbz2, .txz, .tzst) are read as well."""

_WHOLE = re.compile(rf".+\.(?:{_KINDS})", re.IGNORECASE)
_PART = re.compile(
    rf"(?P<archive>.+\.(?:{_KINDS}))(?:(?P<marked>[._-]?part[._-]?)|[._-])(?P<suffix>\d+|[a-z]+)",
    re.IGNORECASE,
)
_PART_OF = re.compile(
    rf"(?P<archive>.+\.(?:{_KINDS}))[._-](?:part[._-]?)?(?P<suffix>\d+)[._-]?of[._-]?(?P<total>\d+)", re.IGNORECASE
)
_VOLUME = re.compile(r"(?P<stem>.+)\.z(?P<number>\d{2,})", re.IGNORECASE)
_NO_PARTS = ("ial", "s")
"""What follows `.part` in names that are no parts: `x.tar.gz.partial`, `x.tar.parts`."""


class PartName(NamedTuple):
    archive: str
    """The name of the whole."""
    suffix: str
    """Digits, or lower-case letters."""
    is_marked: bool
    """Whether `part` or `of` stands in the name; without, a first part (`.000`, `.aa`) must be there to believe it."""
    total: int | None = None
    """How many parts there are, where the name says so."""

    @property
    def is_first(self) -> bool:
        return re.fullmatch("a+|0+1?", self.suffix) is not None


def is_whole_name(name: str) -> bool:
    return _WHOLE.fullmatch(name) is not None


def part_name(name: str) -> PartName | None:
    """
    >>> part_name("laion.tar.gz.part_012")
    PartName(archive='laion.tar.gz', suffix='012', is_marked=True, total=None)
    >>> part_name("laion.tar.gz-00001-of-00004")
    PartName(archive='laion.tar.gz', suffix='00001', is_marked=True, total=4)
    >>> part_name("laion.tar.gz.partial")
    """
    if is_whole_name(name):
        return None
    if match := _PART_OF.fullmatch(name):
        return PartName(match["archive"], match["suffix"], True, int(match["total"]))
    match = _PART.fullmatch(name)
    if match is None:
        return None
    suffix = match["suffix"].lower()
    if match["marked"] is not None:
        return None if suffix in _NO_PARTS else PartName(match["archive"], suffix, True)
    return PartName(match["archive"], suffix, False) if len(suffix) in (2, 3, 4) else None


class VolumeName(NamedTuple):
    """A volume of a split zip before its last, which has the whole's name."""

    archive: str
    number: int
    """From 1 on."""


def volume_name(name: str) -> VolumeName | None:
    """
    >>> volume_name("videos.z02")
    VolumeName(archive='videos.zip', number=2)
    """
    match = _VOLUME.fullmatch(name)
    if match is None:
        return None
    ending = ".ZIP" if ".Z" in name[len(match["stem"]) :] else ".zip"
    return VolumeName(match["stem"] + ending, int(match["number"]))


def archive_of(name: str) -> str | None:
    """The archive that a file of this name is, or is a part of."""
    if is_whole_name(name):
        return name
    part = part_name(name) or volume_name(name)
    return None if part is None else part.archive


def without_ending(name: str) -> str:
    """
    >>> without_ending("laion.tar.gz")
    'laion'
    """
    return re.sub(rf"\.(?:{_KINDS})$", "", name, flags=re.IGNORECASE)
