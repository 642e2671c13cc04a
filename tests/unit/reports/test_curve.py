"""The drawing of an evaluation's curve."""

import re
from xml.etree import ElementTree

from aurora_cli.evaluation.stored import Cost, CurvePoint, Value
from aurora_cli.reports.charts import HEIGHT, RIGHT, WIDTH
from aurora_cli.reports.curve import curve_chart, standalone

NAMESPACE = "{http://www.w3.org/2000/svg}"


def point(ratio: float, frames: int, tokens: float, value: Value, metric: str = "cider") -> CurvePoint:
    return CurvePoint(ratio, frames, "", 4, {metric: value}, Cost(frames * tokens, tokens))


def drawn(points: list[CurvePoint], metric: str = "cider") -> ElementTree.Element:
    return ElementTree.fromstring(standalone(curve_chart(points, metric)))


def test_each_point_stands_at_its_tokens_and_its_interval_around_it() -> None:
    curve = [point(1.0, 8, 16, Value(0.5, 0.25, 1.0)), point(0.5, 8, 8, Value(0.75, 0.5, 0.9))]
    drawing = drawn(curve)
    dots = [(float(each.get("cx", 0)), float(each.get("cy", 0))) for each in drawing.iter(f"{NAMESPACE}circle")]
    whiskers = [each for each in drawing.iter(f"{NAMESPACE}line") if each.get("class") == "whisker"]
    assert len(dots) == len(whiskers) == 2
    left = 2 * dots[0][0] - dots[1][0]  # 8 and 16 tokens: 0 is as far before 8
    assert abs((dots[1][0] - left) / (WIDTH - RIGHT - left) - 16 / 20) < 0.01  # the axis ends at 20
    for (x, y), whisker in zip(dots, whiskers, strict=True):
        assert float(whisker.get("x1", 0)) == x == float(whisker.get("x2", 0))
        assert float(whisker.get("y2", 0)) < y < float(whisker.get("y1", 0)) < HEIGHT
    titles = [each.text for each in drawing.iter(f"{NAMESPACE}title")]
    assert titles.count("kept ratio 0.5, 8 frames: 0.7500 (0.5000 to 0.9000)") == 2


def test_several_numbers_of_frames_are_several_curves_over_the_tokens_of_a_medium() -> None:
    curve = [point(ratio, frames, 16 * ratio, Value(ratio)) for ratio in (1.0, 0.5) for frames in (2, 4)]
    drawing = drawn(curve)
    assert len([each for each in drawing.iter(f"{NAMESPACE}path") if each.get("class") == "curve"]) == 2
    texts = [each.text for each in drawing.iter(f"{NAMESPACE}text")]
    assert "visual tokens a medium" in texts
    assert {"cider, 2 frames", "cider, 4 frames"} <= {*texts}


def test_a_score_that_no_point_has_draws_nothing() -> None:
    assert "nothing to draw" in [each.text for each in drawn([point(1.0, 8, 16, Value(1.0))], "bleu_4").iter()]


def test_a_file_of_its_own_needs_no_page_and_no_variables() -> None:
    text = standalone(curve_chart([point(1.0, 8, 16, Value(1.0, 0.5, 1.5))], "cider"))
    assert "var(" not in text
    assert "--series" not in text
    assert re.search(r"stroke:#[0-9a-f]{6}", text)
