"""VDCscore by hand, and that the questions of a medium are drawn together."""

import pytest

from aurora_cli.evaluation.judge.marks import Mark, mark_differences, mark_intervals, medium_scores
from aurora_cli.evaluation.judge.verdict import Verdict

MARKS = [
    Mark("a", "1", "camera", Verdict(True, 5.0)),
    Mark("a", "2", "camera", Verdict(False, 1.0)),
    Mark("a", "3", "short", Verdict(True, 3.0)),
    Mark("b", "1", "camera", Verdict(True, 4.0)),
    Mark("c", "1", None, Verdict(False, 0.0)),
]


def values(marks: list[Mark]) -> dict[str, float]:
    return {name: interval.value for name, interval in mark_intervals(marks, resamples=100, seed=0).items()}


def test_a_score_is_the_mean_of_the_medias_means():
    found = values(MARKS)
    assert [*found] == [
        "vdc_accuracy",
        "vdc_score",
        "vdc_accuracy_camera",
        "vdc_score_camera",
        "vdc_accuracy_short",
        "vdc_score_short",
    ]
    assert found["vdc_accuracy"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert found["vdc_score"] == pytest.approx((9 / 3 + 4 + 0) / 3)
    assert found["vdc_accuracy_camera"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["vdc_score_camera"] == pytest.approx((3 + 4) / 2)
    assert (found["vdc_accuracy_short"], found["vdc_score_short"]) == (1.0, 3.0)


def test_no_verdict_gives_no_score():
    assert values([]) == {}


def test_many_questions_about_few_media_make_no_score_sure():
    """Ten media, each right or wrong in all its hundred questions: sure as of ten draws, not as of a thousand."""
    marks = [
        Mark(str(medium), str(number), None, Verdict(medium < 5, 5.0 * (medium < 5)))
        for medium in range(10)
        for number in range(100)
    ]
    interval = mark_intervals(marks, resamples=1000, seed=0)["vdc_accuracy"]
    assert interval.value == 0.5
    assert interval.low <= 0.2  # of a thousand draws it would be 0.47
    assert interval.high >= 0.8


def test_two_models_are_compared_on_the_questions_that_both_have_a_verdict_on():
    theirs = [
        Mark("a", "1", "camera", Verdict(False, 2.0)),
        Mark("a", "3", "short", Verdict(True, 3.0)),
        Mark("b", "1", "camera", Verdict(True, 4.0)),
        Mark("d", "1", "camera", Verdict(True, 5.0)),
    ]
    found = mark_differences(MARKS, theirs, resamples=200, seed=0)
    assert found["vdc_accuracy"].value == pytest.approx((1 / 2 + 0) / 2)
    assert found["vdc_score"].value == pytest.approx((4 - 2.5) / 2)
    assert found["vdc_score_camera"].value == pytest.approx((3 + 0) / 2)
    assert found["vdc_score_short"].value == 0
    assert found["vdc_score_short"].p == 1.0
    back = mark_differences(theirs, MARKS, resamples=200, seed=0)
    assert {name: -each.value for name, each in back.items()} == {n: pytest.approx(e.value) for n, e in found.items()}


def test_a_mediums_score_is_its_mean():
    assert medium_scores(MARKS) == {"a": 3.0, "b": 4.0, "c": 0.0}
