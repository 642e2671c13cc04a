"""When a run must not go on."""

import pytest

from aurora_cli.runs.metadata import TrainState
from aurora_cli.training.guards import Guards, MediaLimit, Problem, loss_ema, loss_problem


def test_a_patient_limit_waits_while_the_share_is_as_allowed() -> None:
    limit = MediaLimit(0.01, 10_000)
    assert all(limit.problem(samples, samples, samples // 100) is None for samples in range(100, 10_001, 100))


def test_a_wrong_media_root_ends_after_ten_samples_of_twenty_million() -> None:
    limit = MediaLimit(0.01, 20_000_000)
    assert limit.problem(9, 9, 9) is None
    problem = limit.problem(10, 10, 10)
    assert problem is not None
    error = problem.error(3, [1, 2], None)
    assert "10 of the 10 images, frames and videos of the first 10 samples cannot be read" in error.message
    assert error.exit_code == 3


def test_the_whole_allowance_used_up_ends_the_run() -> None:
    assert MediaLimit(0.01, 1000).problem(1000, 1000, 10) is None
    assert MediaLimit(0.01, 1000).problem(1000, 1000, 11) is not None
    assert MediaLimit(0.0, 1000).problem(1000, 1000, 0) is None
    assert MediaLimit(0.0, 1000).problem(500, 500, 1) is not None


def test_files_are_counted_not_samples() -> None:
    """Of 400 videos of 10 frame files and 600 samples of text, one file of a hundred: 40 videos, 4 % of the samples."""
    assert MediaLimit(0.01, 1000).problem(1000, 4000, 40) is None
    assert MediaLimit(0.01, 1000).problem(1000, 4000, 41) is not None


def test_a_run_over_a_part_of_its_data_is_not_ended_by_chance() -> None:
    """400 images drawn of data of which 0.5 % is bad hold two by expectation, and six once in 200 runs."""
    part = MediaLimit(0.01, 400, part_of_epoch=True)
    assert part.problem(400, 400, 6) is None
    assert part.problem(400, 400, 7) is not None
    assert part.problem(400, 400, 20) is not None


def test_a_loss_jump_is_measured_from_the_running_mean() -> None:
    mean = None
    for loss in (8.0, 6.0, 4.0):
        mean = loss_ema(mean, loss)
    assert mean == pytest.approx(7.8808)
    assert loss_problem(mean + 9.9, 1.0, mean, 10.0) is None
    assert "jumped" in (loss_problem(mean + 10.1, 1.0, mean, 10.0) or "")
    assert loss_problem(1000.0, 1.0, mean, None) is None
    assert loss_problem(1000.0, 1.0, None, 10.0) is None


def test_the_error_names_the_samples_and_the_last_checkpoint(tmp_path) -> None:
    problem = Problem("the loss is nan", "Lower the rate.", of_one_step=True)
    message = str(problem.error(7, [3, 1], tmp_path / "step-00000005"))
    assert "step 7: the loss is nan; its samples: [1, 3]" in message
    assert "step-00000005" in message
    assert "Nothing has been saved" in str(problem.error(1, [3], None))


def test_the_guards_look_at_the_loss_first_and_at_media_only_where_a_step_met_unreadable_ones() -> None:
    guards = Guards(MediaLimit(0.0, 100), max_loss_jump=1.0)
    before = TrainState(step=1, samples_seen=8, media_files=8, media_unreadable=1, loss_ema=2.0)
    readable = TrainState(step=2, samples_seen=16, media_files=16, media_unreadable=1)
    unreadable = readable.model_copy(update={"media_unreadable": 2})
    assert guards.problem(before, readable, 2.5, 1.0) is None
    jumped = guards.problem(before, unreadable, 3.5, 1.0)
    assert jumped is not None
    assert jumped.of_one_step
    limited = guards.problem(before, unreadable, 2.5, 1.0)
    assert limited is not None
    assert "cannot be read" in limited.finding
