"""What the name of a file says about archives: is it one, or a part of one, and of which.

Published parts are `NAME.tar.gz.part_000`; other tools write `NAME.tar.gz_part0`, `NAME.tar.part-aa`,
`NAME.tar.gz.partaa`, `NAME.tar.gz.000` or `NAME.tar.gz.aa`.
"""

import re
from typing import NamedTuple

_KINDS = r"tar|tar\.gz|tgz"
_WHOLE = re.compile(rf".+\.(?:{_KINDS})", re.IGNORECASE)
_PART = re.compile(
    rf"(?P<archive>.+\.(?:{_KINDS}))(?:(?P<marked>[._-]?part[._-]?)|[._-])(?P<suffix>\d+|[a-z]+)",
    re.IGNORECASE,
)
_NO_PARTS = ("ial", "s")
"""What follows `.part` in names that are no parts: `x.tar.gz.partial`, `x.tar.parts`."""


class PartName(NamedTuple):
    archive: str
    """The name of the whole."""
    suffix: str
    """Digits, or lower-case letters."""
    is_marked: bool
    """Whether `part` stands in the name; without, a first part (`.000`, `.aa`) must be there to believe it."""

    @property
    def is_first(self) -> bool:
        return re.fullmatch("a+|0+1?", self.suffix) is not None


def is_whole_name(name: str) -> bool:
    return _WHOLE.fullmatch(name) is not None


def part_name(name: str) -> PartName | None:
    """
    >>> part_name("laion.tar.gz.part_012")
    PartName(archive='laion.tar.gz', suffix='012', is_marked=True)
    >>> part_name("laion.tar.gz.partial")
    """
    match = _PART.fullmatch(name)
    if match is None or is_whole_name(name):
        return None
    suffix = match["suffix"].lower()
    if match["marked"] is not None:
        return None if suffix in _NO_PARTS else PartName(match["archive"], suffix, True)
    return PartName(match["archive"], suffix, False) if len(suffix) in (2, 3, 4) else None


def archive_of(name: str) -> str | None:
    """The archive that a file of this name is, or is a part of."""
    if is_whole_name(name):
        return name
    part = part_name(name)
    return None if part is None else part.archive


def without_ending(name: str) -> str:
    """
    >>> without_ending("laion.tar.gz")
    'laion'
    """
    return re.sub(rf"\.(?:{_KINDS})$", "", name, flags=re.IGNORECASE)
