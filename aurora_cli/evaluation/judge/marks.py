"""VDCscore from verdicts: how many answers are right, and how well they are scored, by category and over all.

A medium's mean first, then the mean of the media, as publications do; so the media are what a resample draws, and
the questions of a medium, which hang together, are drawn together. Shapes: N media, 3 columns.
"""

from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import NamedTuple

import numpy as np

from aurora_cli.evaluation.corpus import Floats
from aurora_cli.evaluation.judge.questions import in_order
from aurora_cli.evaluation.judge.verdict import Verdict
from aurora_cli.evaluation.resampling import Difference, Interval, differences, intervals

ACCURACY, SCORE = "vdc_accuracy", "vdc_score"
"""Share of questions that are answered right, and their mean score of 0 to 5."""

JUDGED = (ACCURACY, SCORE)


class Mark(NamedTuple):
    """The verdict on one question of a medium."""

    medium: str
    question: str
    category: str | None
    verdict: Verdict


def mark_intervals(marks: Iterable[Mark], *, resamples: int, seed: int) -> dict[str, Interval]:
    """Accuracy and score of all questions, then of each category, with intervals."""
    found: dict[str, Interval] = {}
    for category, of_category in _by_category(marks).items():
        columns_N3 = np.array([*_means(of_category).values()])
        values = intervals(columns_N3, _statistic, resamples=resamples, seed=seed)
        found |= dict(zip(_names(category), values, strict=True))
    return found


def mark_differences(
    ours: Iterable[Mark], theirs: Iterable[Mark], *, resamples: int, seed: int
) -> dict[str, Difference]:
    """Ours less theirs, on the questions that have a verdict in both."""
    of_ours, of_theirs = ({(each.medium, each.question): each for each in marks} for marks in (ours, theirs))
    both = [key for key in of_ours if key in of_theirs]
    first = _by_category(of_ours[key] for key in both)
    second = _by_category(of_theirs[key]._replace(category=of_ours[key].category) for key in both)
    found: dict[str, Difference] = {}
    for category in first:
        left, right = _means(first[category]), _means(second[category])
        ours_N3, theirs_N3 = (np.array([means[medium] for medium in left]) for means in (left, right))
        values = differences(ours_N3, theirs_N3, _statistic, resamples=resamples, seed=seed)
        found |= dict(zip(_names(category), values, strict=True))
    return found


def medium_scores(marks: Iterable[Mark]) -> dict[str, float]:
    """The mean score of each medium."""
    return {medium: means[1] for medium, means in _means(marks).items()}


def _names(category: str | None) -> list[str]:
    return [name if category is None else f"{name}_{category}" for name in JUDGED]


def _by_category(marks: Iterable[Mark]) -> dict[str | None, list[Mark]]:
    """All of them under None, if there are any; then those of each category."""
    every = [*marks]
    categories = in_order({mark.category for mark in every if mark.category is not None})
    found: dict[str | None, list[Mark]] = {None: every} if every else {}
    return found | {category: [mark for mark in every if mark.category == category] for category in categories}


def _means(marks: Iterable[Mark]) -> Mapping[str, tuple[float, float, float]]:
    """Of each medium the share that is right, the mean score, and one."""
    verdicts: dict[str, list[Verdict]] = {}
    for mark in marks:
        verdicts.setdefault(mark.medium, []).append(mark.verdict)
    return {
        medium: (fmean(verdict.is_right for verdict in each), fmean(verdict.score for verdict in each), 1.0)
        for medium, each in verdicts.items()
    }


def _statistic(sums: Floats) -> Floats:
    return sums[..., :2] / sums[..., 2:]
