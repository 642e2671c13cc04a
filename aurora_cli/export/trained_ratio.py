"""At which kept ratio an export is right: what its model card says, and `aurora convert` in its last lines."""

from collections.abc import Sequence
from pathlib import Path

from aurora_cli.config.merging import TokenMerging
from aurora_cli.evaluation.stored import CurvePoint, Evaluation

MEASURED = "measured on "
"""Begins the note of what an evaluation found."""


def right_at(merging: TokenMerging, trained_ratios: Sequence[float] = ()) -> str | None:
    """The warning; none where nothing merges, because then every program computes what was trained. `trained_ratios`
    are those of a mixture, of which `merging` has the largest.

    >>> right_at(TokenMerging(kept_ratio=1.0)) is None
    True
    """
    if merging.kept_ratio == 1.0:
        return None
    ratios = " to ".join(f"{ratio:g}" for ratio in dict.fromkeys((*trained_ratios[:1], merging.kept_ratio)))
    return (
        f"right at kept ratio {ratios}, as it was trained: a program that does not merge runs it at kept "
        "ratio 1, which is another model"
    )


def measured(evaluation: Evaluation, merging: TokenMerging) -> str | None:
    """How captions fare at the ratio of training and unmerged; none: its curve lacks one of them."""
    if evaluation.enough is None or merging.kept_ratio == 1.0:
        return None
    metric = evaluation.enough.metric
    of_ratio = {(point.token_kept_ratio, point.frames): point for point in evaluation.curve or ()}
    for (ratio, frames), point in of_ratio.items():
        unmerged = of_ratio.get((1.0, frames))
        if ratio == merging.kept_ratio and unmerged is not None:
            scores = ", ".join(_score(each, metric) for each in (point, unmerged))
            return f"{MEASURED}{point.matched:,} media of {Path(evaluation.references).name}: {metric} {scores}"
    return None


def _score(point: CurvePoint, metric: str) -> str:
    value = point.metrics[metric]
    interval = "" if value.low is None or value.high is None else f" ({value.low:.3f} to {value.high:.3f})"
    return f"{value.value:.3f}{interval} at kept ratio {point.token_kept_ratio:g}"
