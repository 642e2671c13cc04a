"""When a run must not go on."""

import pytest

from aurora_cli.training.guards import MediaLimit, loss_ema, loss_error, loss_problem


def test_a_patient_limit_waits_while_the_share_is_as_allowed() -> None:
    limit = MediaLimit(0.01, 10_000)
    assert all(limit.problem(samples, samples, samples // 100) is None for samples in range(100, 10_001, 100))


def test_a_wrong_media_root_ends_after_ten_samples_of_twenty_million() -> None:
    limit = MediaLimit(0.01, 20_000_000)
    assert limit.problem(9, 9, 9) is None
    error = limit.problem(10, 10, 10)
    assert error is not None
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
    usual = None
    for loss in (8.0, 6.0, 4.0):
        usual = loss_ema(usual, loss)
    assert usual == pytest.approx(7.8808)
    assert loss_problem(usual + 9.9, 1.0, usual, 10.0) is None
    assert "jumped" in (loss_problem(usual + 10.1, 1.0, usual, 10.0) or "")
    assert loss_problem(1000.0, 1.0, usual, None) is None
    assert loss_problem(1000.0, 1.0, None, 10.0) is None


def test_the_error_names_the_samples_and_the_last_checkpoint(tmp_path) -> None:
    said = str(loss_error("the loss is nan", 7, [3, 1], tmp_path / "step-00000005"))
    assert "step 7: the loss is nan; its samples: [1, 3]" in said
    assert "step-00000005" in said
    assert "Nothing has been saved" in str(loss_error("the loss is nan", 1, [3], None))
