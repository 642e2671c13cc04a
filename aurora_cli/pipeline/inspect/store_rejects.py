"""The first rejected records of a token store, by reason."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from aurora_cli.constants import REJECTS_FILE

EXAMPLES = 3
"""Of each reason."""

SEARCHED_LINES = 200_000
"""Lines of rejected.jsonl that are searched for them."""


class RejectExample(NamedTuple):
    """One rejected record."""

    reason: str
    file: str
    line: str
    detail: str


def examples(folders: Iterable[Path], reasons: set[str]) -> dict[str, list[RejectExample]]:
    """The first rejects of each reason, found without reading more than is needed."""
    found: dict[str, list[RejectExample]] = {}
    for example in _entries(folders):
        known = found.setdefault(example.reason, [])
        if len(known) < EXAMPLES:
            known.append(example)
        if all(len(found.get(reason, ())) == EXAMPLES for reason in reasons):
            break
    return found


def _entries(folders: Iterable[Path]) -> Iterator[RejectExample]:
    left = SEARCHED_LINES
    for folder in folders:
        if not (folder / REJECTS_FILE).is_file():
            continue
        with open(folder / REJECTS_FILE, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                if left == 0:
                    return
                left -= 1
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if isinstance(entry, dict):
                    yield RejectExample(*(str(entry.get(key)) for key in RejectExample._fields))
