"""The fewest tokens that are enough, by hand."""

from aurora_cli.evaluation.best import enough_tokens
from aurora_cli.evaluation.stored import Cost, CurvePoint, Enough, Value


def point(tokens: float, value: float, low: float | None, metric: str = "cider") -> CurvePoint:
    high = None if low is None else 2 * value - low
    return CurvePoint(0.5, 8, "", 10, {metric: Value(value, low, high)}, Cost(tokens, tokens))


def test_it_is_the_least_of_those_within_the_interval_of_the_best():
    curve = [point(64, 2.0, 1.8), point(32, 1.9, 1.7), point(16, 1.8, 1.6), point(8, 1.79, 1.5)]
    assert enough_tokens(curve) == Enough("cider", point=2, best=0)


def test_more_tokens_that_score_worse_are_never_taken():
    assert enough_tokens([point(64, 1.0, 0.9), point(8, 2.0, 1.9)]) == Enough("cider", point=1, best=1)


def test_of_equal_scores_the_fewer_tokens_are_the_best():
    assert enough_tokens([point(64, 1.0, 1.0), point(8, 1.0, 1.0)]) == Enough("cider", point=1, best=1)


def test_without_an_interval_only_the_best_is_as_good():
    assert enough_tokens([point(64, 2.0, None), point(8, 1.99, None)]) == Enough("cider", point=0, best=0)


def test_the_first_of_the_ranked_scores_decides_and_a_length_decides_nothing():
    assert enough_tokens([point(8, 1.0, 0.9, "words")]) is None
    assert enough_tokens([]) is None
    found = enough_tokens([point(8, 1.0, 0.9, "bleu_4")])
    assert found is not None
    assert found.metric == "bleu_4"
