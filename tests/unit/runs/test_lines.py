"""metrics.jsonl and rejected.jsonl."""

import json
from pathlib import Path

import pytest

from aurora_cli.errors import DataError
from aurora_cli.runs.lines import MetricsLine, RejectedLine, Rejection, append_lines, cut_back, read_lines
from tests.run_files import metrics_line

KEYS = [
    "step", "epoch", "loss", "lr", "grad_norm", "samples", "tokens", "taught_tokens", "visual_tokens", "fill", "step_s",
    "tokens_per_s", "max_mem_mb",
]  # fmt: skip


def steps(path: Path) -> list[int]:
    return [line.step for line in read_lines(path, MetricsLine)]


def test_lines_after_the_checkpoint_and_a_torn_last_one_go(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_lines(path, [metrics_line(step) for step in range(1, 6)])
    with open(path, "a") as file:
        file.write('{"step": 6, "los')
    cut_back(path, 3)
    assert list(read_lines(path, MetricsLine)) == [metrics_line(step) for step in range(1, 4)]
    append_lines(path, [metrics_line(4)])
    assert steps(path) == [1, 2, 3, 4]


def test_a_run_from_the_start_begins_with_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_lines(path, [metrics_line(1), metrics_line(2)])
    cut_back(path, -1)
    assert path.read_text() == ""
    cut_back(tmp_path / "absent.jsonl", 3)
    assert not (tmp_path / "absent.jsonl").exists()


def test_cutting_back_keeps_what_another_version_wrote_beside(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    line = '{"step": 1, "loss": 1e-05, "kept_ratio": 0.5, "note": "é"}\n'
    path.write_text(line + '{"step": 2}\n', encoding="utf-8")
    cut_back(path, 1)
    assert path.read_text(encoding="utf-8") == line


def test_a_line_of_metrics_has_the_promised_keys_and_those_of_validation_only_where_it_was_measured(
    tmp_path: Path,
) -> None:
    measured = {"validation_loss": 2.0, "validation_samples": 3, "validation_taught_tokens": 4}
    append_lines(tmp_path / "metrics.jsonl", [metrics_line(1, grad_norm=None), metrics_line(2, **measured)])
    first, second = map(json.loads, (tmp_path / "metrics.jsonl").read_text().splitlines())
    assert list(first) == KEYS
    assert first["grad_norm"] is None
    assert list(second) == [*KEYS, *measured]
    assert {key: second[key] for key in measured} == measured


def test_a_rejected_line_says_of_validation_samples_that_they_are(tmp_path: Path) -> None:
    path = tmp_path / "rejected.jsonl"
    rejection = Rejection(5, "é", "5.png", "5.png: not a readable image")
    append_lines(path, [RejectedLine.of(rejection, step=3), RejectedLine.of(rejection, step=4, validation=True)])
    rest = {"sample": 5, "id": "é", "media": "5.png", "reason": "5.png: not a readable image"}
    assert list(map(json.loads, path.read_text(encoding="utf-8").splitlines())) == [
        {"step": 3, **rest},
        {"step": 4, **rest, "held_out": True},
    ]
    assert [line.validation for line in read_lines(path, RejectedLine)] == [False, True]


@pytest.mark.parametrize(
    ("line", "finding"),
    [
        ('{"step": 2}', "is not a line of metrics: epoch: Field required"),
        ("[]", "holds a list"),
        ('{"step": "two"}', "is not a line of metrics: step: Input should be"),
    ],
)
def test_a_whole_line_of_something_else_is_named_by_its_number(line: str, finding: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_lines(path, [metrics_line(1)])
    with open(path, "a") as file:
        file.write(f"{line}\n")
    with pytest.raises(DataError, match=f"metrics.jsonl:2: .*{finding}"):
        steps(path)
