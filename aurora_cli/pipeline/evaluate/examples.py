"""Media of an evaluation that are worth a look: those that a captioner does best and worst, by CIDEr-D of each."""

from collections.abc import Sequence
from pathlib import Path

from aurora_cli.evaluation.corpus import Floats
from aurora_cli.evaluation.matching import Matched
from aurora_cli.evaluation.stored import Example
from aurora_cli.pipeline.evaluate.page_media import find_medium

SHOWN = 8
"""Of the best and of the worst; of fewer media than twice as many, half are each."""


class Examples:
    """Looks for the media of captions below some folders."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(dict.fromkeys(folders))

    def medium(self, names: Sequence[str]) -> str | None:
        """Of a caption with these names, where it lies here."""
        return find_medium(names, self._folders)

    def best(self, matched: Matched, cider_N: Floats) -> tuple[Example, ...]:
        """The best first, of equals the first."""
        order = sorted(range(len(cider_N)), key=lambda item: -cider_N[item])
        return self._examples(matched, cider_N, order[: min(SHOWN, (len(order) + 1) // 2)])

    def worst(self, matched: Matched, cider_N: Floats) -> tuple[Example, ...]:
        """The worst first, of equals the last: none of these is among the best."""
        order = sorted(range(len(cider_N)), key=lambda item: (cider_N[item], -item))
        return self._examples(matched, cider_N, order[: min(SHOWN, len(order) // 2)])

    def _examples(self, matched: Matched, cider_N: Floats, items: Sequence[int]) -> tuple[Example, ...]:
        return tuple(
            Example(
                id=matched.names[item],
                cider=float(cider_N[item]),
                caption=matched.captions[item].text,
                references=tuple(matched.references[item]),
                medium=self.medium(matched.captions[item].names),
            )
            for item in items
        )
