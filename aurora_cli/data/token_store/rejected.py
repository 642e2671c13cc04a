"""`rejected.jsonl` beside the rows: the records that gave none, a line each, with the reason."""

import json
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from aurora_cli.constants import REJECTS_FILE
from aurora_cli.io.atomic import atomic_write

FORMER_REASONS = {"picture_count": "image_count", "nothing_taught": "no_target_tokens"}
"""What version 0.1.0 called them."""


class RejectedRecord(NamedTuple):
    """A record that gave no row."""

    file: str
    line: int
    """From 1."""
    id: str
    reason: str
    """A key of `annotations.records.REASONS`."""
    detail: str

    def to_line(self) -> str:
        """The line of `rejected.jsonl`, in ASCII."""
        return json.dumps(self._asdict()) + "\n"


def current_reason(reason: str) -> str:
    """The present name of a reason.

    >>> current_reason("picture_count"), current_reason("bad_json")
    ('image_count', 'bad_json')
    """
    return FORMER_REASONS.get(reason, reason)


def rejected_records(folders: Iterable[Path], most: int) -> Iterator[RejectedRecord]:
    """The rejected records of several folders, one after the other. At most `most` lines are looked at.

    Lines that are none, and folders without the file, are passed over.
    """
    left = most
    for folder in folders:
        if not (folder / REJECTS_FILE).is_file():
            continue
        with open(folder / REJECTS_FILE, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if left == 0:
                    return
                left -= 1
                if (record := _parsed(line)) is not None:
                    yield record


def _parsed(line: str) -> RejectedRecord | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict):
        return None
    number = entry.get("line")
    file, name, reason, detail = (str(entry.get(key, "")) for key in ("file", "id", "reason", "detail"))
    return RejectedRecord(file, number if isinstance(number, int) else 0, name, current_reason(reason), detail)


def collect_rejects(target: Path, shards: Iterable[Path]) -> None:
    """Write the rejects of all shards into one file."""
    with atomic_write(target) as rejects:
        for shard in shards:
            with open(shard / REJECTS_FILE, "rb") as part:
                shutil.copyfileobj(part, rejects)
