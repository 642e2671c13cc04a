"""metrics.jsonl and rejected.jsonl."""

from pathlib import Path

from aurora_cli.runs.lines import append_lines, cut_back, read_lines


def test_lines_after_the_checkpoint_and_a_torn_last_one_go(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_lines(path, [{"step": step, "text": "é"} for step in range(1, 6)])
    with open(path, "a") as file:
        file.write('{"step": 6, "los')
    cut_back(path, 3)
    assert list(read_lines(path)) == [{"step": step, "text": "é"} for step in range(1, 4)]
    append_lines(path, [{"step": 4}])
    assert [line["step"] for line in read_lines(path)] == [1, 2, 3, 4]


def test_a_run_from_the_start_begins_with_no_lines(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    append_lines(path, [{"step": 0}, {"step": 1}])
    cut_back(path, -1)
    assert path.read_text() == ""
    cut_back(tmp_path / "absent.jsonl", 3)
    assert not (tmp_path / "absent.jsonl").exists()
