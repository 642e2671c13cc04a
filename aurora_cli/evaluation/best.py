"""The point of a curve that scores best, and the one that needs fewest tokens for as good a score."""

from collections.abc import Sequence

from aurora_cli.evaluation.stored import CurvePoint, Enough

RANKED = ("vdc_score", "cider", "spice", "meteor", "rouge_l", "bleu_4", "bleu_3", "bleu_2", "bleu_1")
"""Scores of which more is better; the first of these that was computed decides."""


def enough_tokens(points: Sequence[CurvePoint]) -> Enough | None:
    """Of the points whose score lies within the confidence interval of the best one's, that with the fewest tokens.

    None: no score says which point is better.
    """
    metric = next((name for name in RANKED if points and all(name in point.metrics for point in points)), None)
    if metric is None:
        return None
    scores = [point.metrics[metric] for point in points]
    tokens = [point.cost.visual_tokens for point in points]
    best = max(range(len(points)), key=lambda at: (scores[at].value, -tokens[at]))
    low = scores[best].value if (low := scores[best].low) is None else low
    as_good = [at for at, score in enumerate(scores) if score.value >= low]
    return Enough(metric, min(as_good, key=lambda at: (tokens[at], -scores[at].value)), best)
