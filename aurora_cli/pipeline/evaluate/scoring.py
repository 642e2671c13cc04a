"""Captions beside references: their scores, and how they differ from another model's."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aurora_cli.config.settings import EvaluateSettings
from aurora_cli.errors import DataError, UsageError
from aurora_cli.evaluation.captions import CaptionOf
from aurora_cli.evaluation.corpus import Floats
from aurora_cli.evaluation.judge.marks import JUDGED
from aurora_cli.evaluation.matching import Matched, match
from aurora_cli.evaluation.meteor import Meteor
from aurora_cli.evaluation.references import ReferenceSet
from aurora_cli.evaluation.resampling import differences, intervals
from aurora_cli.evaluation.scores import DISTINCT, METRICS, ON_REQUEST, SPICE, Scored, Scorer
from aurora_cli.evaluation.stored import Against, Apart, DifferenceValue, Value
from aurora_cli.evaluation.tokens import TokenizerName
from aurora_cli.pipeline.evaluate.examples import Examples

APART = 20
"""Media on which two models differ most that are written."""


def metrics_named(given: Sequence[str], *, has_judge: bool = False) -> list[str]:
    """The metrics of these names, in the order of the table; all but those on request where none is named.

    Raises:
        UsageError: one is none, or takes a judge.
    """
    there = (*METRICS, *JUDGED) if has_judge else METRICS
    if unknown := next((name for name in given if name not in there), None):
        if unknown in JUDGED:
            raise UsageError(f"--metric {unknown}: takes a judge", hint="--judge URL --judge-model NAME")
        raise UsageError(f"--metric {unknown}: is no metric; there are {', '.join(there)}")
    return [name for name in there if (name in given if given else name not in ON_REQUEST)]


class InWords(NamedTuple):
    """Captions that were compared with texts."""

    matched: Matched
    """Those of media that have a text."""
    values: dict[str, Value]
    """Each selected metric of words with its interval."""
    cider_N: Floats
    """Of each caption by itself."""
    scored: Scored | None
    """None: of none."""


class Scoring:
    """Scores captions of the media of one set of references, all of them in one way."""

    def __init__(
        self,
        references: ReferenceSet,
        source: Path,
        evaluate: EvaluateSettings,
        selected: Sequence[str],
        tokenizer: TokenizerName,
        meteor: Meteor | None,
    ) -> None:
        """`source`: the references, as messages name them; of the `selected` metrics, those of words count."""
        self._selected = [name for name in selected if name in METRICS]
        self._references, self._source, self._evaluate = references, source, evaluate
        self._scorer = Scorer(tokenizer, meteor, has_spice=SPICE in self._selected)

    def matched(self, path: Path, captions: Sequence[CaptionOf]) -> Matched:
        """The captions of a file with the references of their media.

        Raises:
            DataError: none has any.
        """
        matched = match(captions, self._references)
        if not matched.captions:
            raise DataError(
                f"{path}: none of its captions is of a medium that {self._source} has references of: it begins with "
                f"{captions[0].names[0]!r}, the references with {self._references.names[0][0]!r}"
            )
        return matched

    def in_words(self, matched: Matched) -> InWords:
        """Scores beside texts; no values where no medium has one, or no metric of words is selected."""
        matched = matched.with_texts()
        if not matched.names:
            return InWords(matched, {}, np.zeros(0), None)
        scorer, scored = self._scorer, self._scored(matched)
        return InWords(matched, self._values(scored) if self._selected else {}, scorer.cider(scored), scored)

    def _values(self, scored: Scored) -> dict[str, Value]:
        scorer, evaluate = self._scorer, self._evaluate
        found = intervals(scored.columns_NC, scorer.statistic, resamples=evaluate.resamples, seed=evaluate.seed)
        values = {name: Value(**each._asdict()) for name, each in zip(scorer.names, found, strict=True)}
        values |= {name: Value(value=value) for name, value in zip(DISTINCT, scored.distinct, strict=True)}
        if not scored.has_cut:
            del values["cut"]
        return {name: values[name] for name in self._selected if name in values}

    def against(self, path: Path, matched: Matched, in_words: InWords, others: Matched, examples: Examples) -> Against:
        """The difference to the captions of another file, on the media that both caption.

        `in_words`: the scores of `matched`, which stand where both caption all of it.

        Raises:
            DataError: there are none.
        """
        theirs = dict(zip(others.media, others.captions, strict=True))
        both = [at for at, medium in enumerate(matched.media) if medium in theirs]
        if not both:
            raise DataError(f"{path}: captions none of the media that are evaluated")
        count, both = len(both), [at for at in both if matched.references[at]]
        if not both or not self._selected:
            return Against(captions=str(path), matched=count, metrics={}, apart=())
        names = [matched.names[at] for at in both]
        ours, texts = [matched.captions[at] for at in both], [matched.references[at] for at in both]
        scorer, evaluate = self._scorer, self._evaluate
        first = in_words.scored
        if first is None or len(both) < len(in_words.matched.names):
            first = self._scored(Matched(names, ours, texts, [], []))
        other = [theirs[matched.media[at]] for at in both]
        second = self._scored(Matched(names, other, texts, [], []))
        found = differences(
            first.columns_NC, second.columns_NC, scorer.statistic, resamples=evaluate.resamples, seed=evaluate.seed
        )
        values = {name: DifferenceValue(**each._asdict()) for name, each in zip(scorer.names, found, strict=True)}
        if not (first.has_cut and second.has_cut):
            del values["cut"]
        by_item = scorer.cider(first) - scorer.cider(second)
        order = sorted(range(len(names)), key=lambda item: -abs(by_item[item]))[:APART]
        return Against(
            captions=str(path),
            matched=count,
            metrics={name: values[name] for name in self._selected if name in values},
            apart=tuple(
                Apart(
                    id=names[at],
                    difference=by_item[at],
                    caption=ours[at].text,
                    against=other[at].text,
                    references=tuple(texts[at]),
                    medium=examples.medium(ours[at].names),
                )
                for at in order
                if by_item[at]
            ),
        )

    def _scored(self, matched: Matched) -> Scored:
        captions = [caption.text for caption in matched.captions]
        return self._scorer.scored(captions, matched.references, [caption.is_cut for caption in matched.captions])
