"""The contamination check of `aurora evaluate`: what stands in training data is reported, and scored all the same."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from aurora_cli.config.workspace import Workspace
from aurora_cli.console import Reporter
from aurora_cli.data.media.kinds import kind_by_name
from aurora_cli.evaluation.contamination.check import Evaluated, check
from aurora_cli.evaluation.contamination.found import Contamination
from aurora_cli.evaluation.contamination.looks import can_look
from aurora_cli.evaluation.contamination.training import TrainingRecord, Unread, training_records
from aurora_cli.evaluation.matching import Matched

_REPORTED_EVERY = 1000
_SPAN = re.compile(r"@[\d.]+-[\d.]*$")


def check_contamination(
    data: Iterable[Path], matched: Matched, roots: Sequence[Path], workspace: Workspace, reporter: Reporter, looks: bool
) -> Contamination:
    """Look for the media and texts of an evaluation in training data; `roots`: where its media may be named from.

    Raises:
        DataError, UsageError: the data cannot be read.
    """
    data, looks = [*data], looks and can_look()
    evaluated = [
        Evaluated(medium, _find(roots, [medium, *caption.names]), references, caption.text)
        for medium, caption, references in zip(matched.media, matched.captions, matched.references, strict=True)
    ]
    with reporter.progress("contamination", None, "records") as advance:

        def records() -> Iterator[TrainingRecord | Unread]:
            number = 0
            for path in data:
                for record in training_records(path, workspace):
                    yield record
                    number += 1
                    if number % _REPORTED_EVERY == 0:
                        advance(_REPORTED_EVERY)

        found = check(evaluated, records(), looks=looks)
    return Contamination(tuple(map(workspace.relative, data)), len(evaluated), looks, found)


def _find(roots: Sequence[Path], names: Sequence[str]) -> Path | None:
    """The file of a medium by one of its names; not by the end of one, which another file may have."""
    whole = [name for at, name in enumerate(names) if not any(each.endswith(f"/{name}") for each in names[:at])]
    for name in (_SPAN.sub("", name) for name in whole):
        if kind_by_name(name) is not None:
            for root in roots:
                if (root / name).is_file():
                    return root / name
    return None
