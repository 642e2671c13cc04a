"""Samples that a run did not learn from, by reason, as its report shows them."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

from aurora_cli.constants import REJECTS_FILE
from aurora_cli.runs.lines import RejectedLine, read_lines

SHOWN = 12
"""Of the reasons, and of the samples."""
CHARACTERS = 160
"""Of a reason."""
COUNTED = 1_000
"""Different reasons that are counted apart."""
OTHERS = "other reasons"


class ShownReject(NamedTuple):
    """A sample that the run did not learn from."""

    step: int
    id: str
    media: str
    reason: str


class Rejects(NamedTuple):
    """All of them."""

    file: str
    total: int
    reasons: list[tuple[str, int]]
    """The most frequent, with how often."""
    first: list[ShownReject]


def count_rejects(path: Path, most: int = COUNTED) -> Rejects:
    """What rejected.jsonl holds, read a line at a time; from `most` different reasons on, others are counted as one."""
    reasons: Counter[str] = Counter()
    first: list[ShownReject] = []
    for line in read_lines(path, RejectedLine):
        reason = _reason_alone(line.reason)
        reasons[reason if reason in reasons or len(reasons) < most else OTHERS] += 1
        if len(first) < SHOWN:
            first.append(ShownReject(line.step, line.id, line.media or "", line.reason[:CHARACTERS]))
    return Rejects(REJECTS_FILE, reasons.total(), reasons.most_common(SHOWN), first)


def _reason_alone(reason: str) -> str:
    """A reason without the name that it begins with."""
    return reason.rpartition(": ")[2][:CHARACTERS]
