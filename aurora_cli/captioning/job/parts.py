"""Parts of a file of captions, one for each share of the media, in a folder beside it.

captions.jsonl.parts/00002-of-00008.jsonl           captions, added as they come, each with its line in the list
captions.jsonl.parts/00002-of-00008.rejected.jsonl  what could not be captioned, likewise
captions.jsonl.parts/00002-of-00008.json            written last: the part is whole
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, NamedTuple

from aurora_cli.config.share import Share
from aurora_cli.errors import UsageError
from aurora_cli.io.json_files import JsonObject, StoredModel

SUFFIX = ".parts"
LINE = "line"
"""Key of a part's lines: where in the list of media it stands."""
KEY = "key"
"""Key of a part's rejects: what the captions of equal rows are known by."""
MERGED_FILE = "merged.json"

_NAME = re.compile(r"(\d{5,})-of-(\d{5,})\.")


class Part(NamedTuple):
    """What a share of the media becomes."""

    output: Path
    """The file that all parts become."""
    share: Share
    media: str
    """A hash of the list of all media: parts of other lists do not go together with this one."""
    total: int | None
    """Media of all shares; none: as many as the list turns out to have."""

    @property
    def folder(self) -> Path:
        return parts_folder(self.output)

    @property
    def path(self) -> Path:
        return self.folder / f"{self.share.name}.jsonl"

    @property
    def rejects(self) -> Path:
        return rejects_of(self.path)

    @property
    def receipt(self) -> Path:
        return self.path.with_suffix(".json")


class PartReceipt(StoredModel):
    """A whole part."""

    WHAT: ClassVar[str] = "a record of a whole part"
    HINT: ClassVar[str | None] = "Remove it, and caption the share again: what it has is kept."

    index: int
    count: int
    made_by: str
    """Model and settings."""
    media: str
    """A hash of the list of all media."""
    total: int
    """Media of all shares."""
    captions: int
    size: int
    """Bytes of the file of captions."""
    rejected: int
    settings: JsonObject
    """The model, and how it captioned."""

    @property
    def share(self) -> Share:
        return Share(self.index, self.count)

    @property
    def made_from(self) -> tuple[str, str, int]:
        """What parts that go together have in common."""
        return self.made_by, self.media, self.total


def hash_of_names(names: Iterable[str]) -> str:
    """Of a list of media that no file holds."""
    return hashlib.sha256("\n".join(names).encode("utf-8", "surrogateescape")).hexdigest()


def parts_folder(output: Path) -> Path:
    return output.with_name(f"{output.name}{SUFFIX}")


def rejects_of(path: Path) -> Path:
    """The list of what is missing from a part's captions."""
    return path.with_suffix(".rejected.jsonl")


def counts_in(folder: Path) -> set[int]:
    """Of how many shares there are parts."""
    names = (_NAME.match(entry.name) for entry in folder.glob("*-of-*.*")) if folder.is_dir() else ()
    return {int(name[2]) for name in names if name is not None}


def whole_parts(output: Path, count: int) -> dict[int, PartReceipt]:
    """The records of the parts that are whole, by number.

    Raises:
        DataError: one of the records is damaged.
    """
    found = {}
    for index in range(count):
        part = Part(output, Share(index, count), "", None)
        receipt = PartReceipt.read_if_there(part.receipt)
        if receipt is not None and part.path.is_file() and part.path.stat().st_size == receipt.size:
            found[index] = receipt
    return found


def check_count(part: Part) -> None:
    """
    Raises:
        UsageError: the folder has parts of another number of shares, which would never be put together with this one.
    """
    if others := sorted(counts_in(part.folder) - {part.share.count}):
        raise UsageError(
            f"{part.folder}: has parts of {others[0]} shares, and this is share {part.share}",
            hint=f"Make it one of {others[0]} (--shard I/{others[0]}, --num-processes {others[0]}), name another"
            " --output, or remove the folder.",
        )
