"""Metrics of a run of any length: what is kept is small, each line is read once, and sums are those of all lines."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_cli.reports.metrics import POINTS, Curve, RunMetrics
from aurora_cli.runs.lines import cut_back
from tests.run_files import metrics_line


def line(step: int, **given: Any) -> str:
    return json.dumps(metrics_line(step, **given).to_json()) + "\n"


@given(st.lists(st.integers(-1000, 1000)), st.sampled_from([2, 4, 10]))
def test_a_curve_is_the_means_of_neighbours_in_groups_of_one_size(values: list[int], most: int) -> None:
    curve = Curve(most)
    for step, value in enumerate(values, 1):
        curve.add(step, value)
    size = next(1 << power for power in range(20) if most << power >= len(values))
    groups = [values[start : start + size] for start in range(0, len(values), size)]
    steps = [min(start + size, len(values)) for start in range(0, len(values), size)]
    assert curve.points() == [(step, sum(group) / len(group)) for step, group in zip(steps, groups, strict=True)]


@pytest.mark.slow
def test_of_a_million_steps_a_curve_keeps_four_hundred_points() -> None:
    curve, most = Curve(), 0
    for step in range(1, 1_000_001):
        curve.add(step, step)
        most = max(most, len(curve._groups))
    assert most == POINTS
    points = curve.points()
    assert POINTS // 2 <= len(points) <= POINTS
    assert points[-1][0] == 1_000_000


@pytest.mark.slow
def test_of_many_lines_nothing_is_kept_but_sums_and_points(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    count = 200_000
    some = "".join(map(line, range(1, 1001)))
    with open(path, "w") as file:
        for _ in range(count // 1000):
            file.write(some)
    found = RunMetrics(path)
    found.update()
    assert (found.lines, found.samples, found.seconds) == (count, 8 * count, 0.5 * count)
    kept = [value for value in vars(found).values() if isinstance(value, list | dict)]
    assert sum(map(len, kept)) < 40  # the first line, the last, and a curve a key
    assert all(len(curve.points()) <= POINTS for curve in found.curves.values())


def test_each_line_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, read = tmp_path / "metrics.jsonl", []
    add = RunMetrics._add
    monkeypatch.setattr(RunMetrics, "_add", lambda self, entry: (read.append(entry.step), add(self, entry)))
    found = RunMetrics(path)
    found.update()  # no file yet
    with open(path, "a") as file:
        for steps in ((1, 2), (3,), (), (4, 5)):
            file.writelines(map(line, steps))
            file.flush()
            found.update()
    assert read == [1, 2, 3, 4, 5]
    assert (found.lines, found.last and found.last.step) == (5, 5)


def test_half_a_line_is_left_until_it_is_whole(tmp_path: Path) -> None:
    path, whole = tmp_path / "metrics.jsonl", line(2)
    path.write_text(line(1) + whole[:30])
    found = RunMetrics(path)
    found.update()
    assert found.lines == 1
    with open(path, "a") as file:
        file.write(whole[30:])
    found.update()
    assert found.lines == 2


def test_a_file_that_was_cut_back_is_read_from_its_start(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(map(line, range(1, 10))))
    found = RunMetrics(path)
    found.update()
    cut_back(path, 4)
    found.update()
    assert (found.lines, found.samples, len(found.curves["loss"].points())) == (4, 32, 4)


def test_the_lowest_validation_loss_is_not_the_last(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(line(step, validation_loss=loss) for step, loss in enumerate((3.0, 1.5, 2.0), 1)))
    found = RunMetrics(path)
    found.update()
    assert (found.validation_last, found.validation_lowest) == (2.0, 1.5)


def test_of_a_mixture_there_is_a_curve_for_each_kept_ratio(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    measured = {"validation_loss_by_ratio": {"0.1": 3.0, "1": 2.0}, "validation_loss": 2.5}
    steps = [(1, 1.0, {}), (2, 0.1, measured), (3, 1.0, {})]
    path.write_text("".join(line(step, kept_ratio=ratio, loss=step, **given) for step, ratio, given in steps))
    found = RunMetrics(path)
    found.update()
    assert found.loss_by_ratio == {"0.1": [(2.0, 2.0)], "1": [(1.0, 1.0), (3.0, 3.0)]}
    assert found.validation_by_ratio == {"0.1": [(2.0, 3.0)], "1": [(2.0, 2.0)]}
