"""A judge's scores of captions, and of two models' captions of the same media."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from aurora_cli.config.settings import EvaluateSettings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import Reporter
from aurora_cli.evaluation.captions import CaptionOf
from aurora_cli.evaluation.judge.marks import JUDGED, SCORE, Mark, mark_differences, mark_intervals, medium_scores
from aurora_cli.evaluation.judge.prompts import read_prompts
from aurora_cli.evaluation.matching import Matched, match
from aurora_cli.evaluation.references import ReferenceSet
from aurora_cli.evaluation.stored import Against, Apart, DifferenceValue, Value
from aurora_cli.pipeline.evaluate.examples import Examples
from aurora_cli.pipeline.evaluate.judging import JOURNAL, Judge, JudgedCaptions, judge_captions, questions_left
from aurora_cli.pipeline.evaluate.scoring import APART

AnyScore = TypeVar("AnyScore")


class CaptionJudge:
    """Has captions judged by one judge; what it said before lies beside each file's evaluation."""

    def __init__(
        self,
        evaluate: EvaluateSettings,
        workspace: Workspace,
        references: ReferenceSet,
        selected: Sequence[str],
        reporter: Reporter,
    ) -> None:
        """`selected`: metrics, of which the judge's count.

        Raises:
            UsageError: the address, the key or the prompts are not right.
        """
        self._evaluate, self._workspace, self._reporter = evaluate, workspace, reporter
        self._questions = references.questions
        self._names = tuple(name for name in selected if name in JUDGED)
        prompts = evaluate.judge.prompts
        self._judge = Judge.of(evaluate.judge, read_prompts(None if prompts is None else workspace.path(prompts)))

    def judged(self, matched: Matched, folder: Path) -> JudgedCaptions:
        """The verdicts on captions whose evaluation is in `folder`.

        Raises:
            HostError: the judge answers no request; what it said until then is kept.
        """
        return judge_captions(self._judge, matched, self._questions, folder / JOURNAL, self._reporter)

    def plan(self, captions: Sequence[CaptionOf], references: ReferenceSet, folder: Path) -> str:
        """What would be asked."""
        matched = match(captions, references)
        count, left = questions_left(self._judge, matched, self._questions, folder / JOURNAL)
        return f"Would have {left:,} of {count:,} questions judged by {self._judge.model}"

    def values(self, judged: JudgedCaptions) -> dict[str, Value]:
        """The selected scores over all questions and by category, with their intervals."""
        found = mark_intervals(judged.marks, resamples=self._evaluate.resamples, seed=self._evaluate.seed)
        return {name: Value(**each._asdict()) for name, each in self._selected(found).items()}

    def against(
        self,
        against: Against,
        ours: tuple[Matched, JudgedCaptions],
        others: Matched,
        path: Path,
        examples: Examples,
    ) -> Against:
        """The comparison with the judge's scores; where no words tell the media apart, by them."""
        matched, judged = ours
        evaluate = self._evaluate
        theirs = self.judged(others, self._workspace.path(Path("evaluation", path.stem)))
        found = mark_differences(judged.marks, theirs.marks, resamples=evaluate.resamples, seed=evaluate.seed)
        metrics = {name: DifferenceValue(**each._asdict()) for name, each in self._selected(found).items()}
        against = replace(against, metrics={**against.metrics, **metrics}, judged=theirs.summary)
        if against.apart:
            return against
        apart = _apart_in_score(matched, others, judged.marks, theirs.marks, examples)[:APART]
        return replace(against, apart=tuple(apart), apart_by=SCORE)

    def _selected(self, found: Mapping[str, AnyScore]) -> dict[str, AnyScore]:
        return {name: each for name, each in found.items() if name.startswith(self._names)}


def _apart_in_score(
    ours: Matched, theirs: Matched, marks: Sequence[Mark], others: Sequence[Mark], examples: Examples
) -> list[Apart]:
    """The media whose scores differ, those that differ most first."""
    first, second = medium_scores(marks), medium_scores(others)
    captions, against = (dict(zip(each.media, each.captions, strict=True)) for each in (ours, theirs))
    found = [
        Apart(
            id=medium,
            difference=first[medium] - second[medium],
            caption=captions[medium].text,
            against=against[medium].text,
            medium=examples.medium(captions[medium].names),
        )
        for medium in first
        if medium in second and first[medium] != second[medium]
    ]
    return sorted(found, key=lambda each: -abs(each.difference))
