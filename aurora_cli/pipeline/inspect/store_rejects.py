"""The first rejected records of a token store, by reason."""

from collections.abc import Iterable
from pathlib import Path

from aurora_cli.data.token_store.rejected import RejectedRecord, rejected_records

EXAMPLES = 3
"""Of each reason."""

SEARCHED_LINES = 200_000
"""Lines of rejected.jsonl that are searched for them."""


def examples(folders: Iterable[Path], reasons: set[str]) -> dict[str, list[RejectedRecord]]:
    """The first rejects of each reason, found without reading more than is needed."""
    found: dict[str, list[RejectedRecord]] = {}
    for record in rejected_records(folders, SEARCHED_LINES):
        known = found.setdefault(record.reason, [])
        if len(known) < EXAMPLES:
            known.append(record)
        if all(len(found.get(reason, ())) == EXAMPLES for reason in reasons):
            break
    return found
