"""What the steps after a download will take on the disk, as far as names and sizes tell.

How much is in an archive is known only when it is read. Images and videos hardly compress: their members take about
what the archive takes, and a little for the blocks that a filesystem rounds up to.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from aurora_cli.data.archives.finding.names import archive_of, part_name
from aurora_cli.data.archives.finding.parts import Archive
from aurora_cli.data.archives.journal import ExtractionState
from aurora_cli.data.archives.spent import spent_files
from aurora_cli.data.download.manifest import RemoteFile
from aurora_cli.data.download.selection import ANNOTATIONS

MEMBERS_PER_ARCHIVE_BYTE = 1.05
"""Measured on ext4: 1.02 for JPEG files of 120 KB in a tar.gz, 1.13 for such of 22 KB."""
SHARDS_PER_ANNOTATION_BYTE = 2.5
"""Two int32 a token and some columns: 2.1 measured with English text and a vocabulary of 32,000."""


class Need(NamedTuple):
    """Bytes that a step adds to the disk; `step` is what one types."""

    step: str
    bytes: int
    note: str


def later_needs(selected: Iterable[RemoteFile], data: Path, *, archives_at_a_time: int) -> list[Need]:
    """What is still to be done with the selected files once they are here. Steps that are done need nothing."""
    archives: dict[Path, int] = {}
    in_parts: set[Path] = set()
    annotations = 0
    spent: dict[Path, dict[str, int]] = {}
    for file in selected:
        path = data / file.path
        name = archive_of(path.name)
        if name is None:
            annotations += file.size if file.path.endswith(ANNOTATIONS) else 0
            continue
        if path.parent not in spent:
            spent[path.parent] = spent_files(path.parent)
        archive = path.with_name(name)
        archives[archive] = archives.get(archive, 0) + file.size
        if part_name(path.name) is not None and not archive.exists() and path.name not in spent[path.parent]:
            in_parts.add(archive)
    packed = {archive: size for archive, size in archives.items() if not _is_extracted(archive)}

    merged = [size for archive, size in packed.items() if archive in in_parts]
    members = int(sum(packed.values()) * MEMBERS_PER_ARCHIVE_BYTE)
    at_a_time = int(sum(sorted(packed.values())[-archives_at_a_time:]) * MEMBERS_PER_ARCHIVE_BYTE)
    largest = max(merged, default=0)
    return [
        Need("merge-tars", sum(merged), "can be left out: extract reads parts; nothing where the disk shares blocks"),
        Need("merge-tars --delete-parts", largest, "the largest archive, at times"),
        Need("extract", members, "estimated; --layout index takes about the same"),
        Need("extract --delete-archives", at_a_time, "estimated, at times; the archives go as they are unpacked"),
        Need("tokenize", int(annotations * SHARDS_PER_ANNOTATION_BYTE), "estimated; merge-shards adds links only"),
    ]


def _is_extracted(archive: Path) -> bool:
    return ExtractionState(Archive(archive, (archive,)), archive.parent).receipt_path.is_file()
