"""Runs that are stopped, killed, failed or hung: nothing is lost, doubled or silent. Two gloo processes, a toy."""

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from aurora_cli.errors import HostError, Interrupted
from aurora_cli.training.processes.launcher import WorkerFailed
from tests.distributed import toy
from tests.distributed.test_engines import assert_same_run, metrics
from tests.preloaded import ORDINARY

STEPS = 6
SAME = [("zero2", 2), pytest.param("none", 1, marks=pytest.mark.soak)]
OTHERS = [("zero2", 2, "none", 1), ("zero2", 2, "zero3", 2), ("zero3", 2, "zero1", 2), ("none", 1, "zero3_offload", 2)]


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Path]:
    """The whole run, by engine and processes."""
    runs: dict[tuple[str, int], Path] = {}
    for engine, processes in (("zero2", 2), ("none", 1)):
        runs[engine, processes] = tmp_path_factory.mktemp(engine)
        toy.run(toy.Options(str(runs[engine, processes]), engine=engine, processes=processes, steps=STEPS))
    return runs


@pytest.mark.parametrize(("engine", "processes"), SAME)
def test_killed_and_resumed_is_never_killed(
    engine: str, processes: int, uninterrupted: dict[tuple[str, int], Path], tmp_path: Path
) -> None:
    options = toy.Options(str(tmp_path), engine=engine, processes=processes, steps=STEPS)
    with pytest.raises(HostError, match="exit code 9"):
        toy.run(replace(options, kill_after=3))
    assert [line["step"] for line in metrics(tmp_path)] == [1, 2, 3]
    toy.run(replace(options, resume=True))
    assert_same_run(tmp_path, uninterrupted[engine, processes], STEPS, tolerance=0.0)


@pytest.mark.soak
@pytest.mark.parametrize(("engine", "processes", "then", "then_processes"), OTHERS)
def test_a_run_goes_on_under_another_engine(
    engine: str,
    processes: int,
    then: str,
    then_processes: int,
    uninterrupted: dict[tuple[str, int], Path],
    tmp_path: Path,
) -> None:
    options = toy.Options(str(tmp_path), engine=engine, processes=processes, steps=STEPS)
    with pytest.raises(HostError):
        toy.run(replace(options, kill_after=3))
    toy.run(replace(options, engine=then, processes=then_processes, resume=True))
    assert_same_run(tmp_path, uninterrupted["none", 1], STEPS, tolerance=1e-5)


def test_one_ranks_wish_to_stop_stops_all_at_a_steps_end(
    uninterrupted: dict[tuple[str, int], Path], tmp_path: Path
) -> None:
    options = toy.Options(str(tmp_path), engine="zero3", processes=2, steps=STEPS, every=100)
    with pytest.raises(Interrupted, match="stopped after step 3 of 6") as caught:
        toy.run(replace(options, stop_after=3))
    assert caught.value.exit_code == 130
    assert (tmp_path / "checkpoints" / "latest").read_text() == "step-00000003\n"
    # ... and the run goes on under another engine and number of processes
    toy.run(replace(options, engine="none", processes=1, resume=True))
    assert_same_run(tmp_path, uninterrupted["none", 1], STEPS)


def start(options: toy.Options, python: str = "") -> "subprocess.Popen[str]":
    """The parent of a run, in a process of its own."""
    code = f"from tests.distributed import toy; print(toy.run(toy.{options!r}))"
    return subprocess.Popen(
        [python or sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path.cwd(),
    )


def wait_for_step(run_dir: Path, step: int) -> None:
    deadline = time.monotonic() + 120
    while not (run_dir / "metrics.jsonl").is_file() or len((run_dir / "metrics.jsonl").read_text().splitlines()) < step:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_signal_to_the_parent_stops_its_workers_and_saves(tmp_path: Path) -> None:
    parent = start(toy.Options(str(tmp_path), engine="none", processes=2, steps=500, every=1000, step_s=0.1))
    wait_for_step(tmp_path, 2)
    parent.send_signal(signal.SIGTERM)
    _, errors = parent.communicate(timeout=60)
    assert "Interrupted: stopped after step" in errors
    last = metrics(tmp_path)[-1]["step"]
    assert (tmp_path / "checkpoints" / "latest").read_text() == f"step-{last:08d}\n"


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    options = toy.Options(str(tmp_path), engine="none", processes=2, steps=500, every=1000, step_s=0.1)
    parent = start(options, ORDINARY)
    wait_for_step(tmp_path, 1)
    workers = psutil.Process(parent.pid).children()
    assert len(workers) == 2
    os.kill(parent.pid, signal.SIGKILL)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive
    parent.communicate()


def test_the_first_failure_ends_all_and_its_traceback_is_passed_on(tmp_path: Path) -> None:
    began = time.monotonic()
    with pytest.raises(WorkerFailed) as caught:
        toy.run(toy.Options(str(tmp_path), engine="none", processes=2, steps=STEPS, fail_rank=1))
    assert str(caught.value).startswith("rank 1: ValueError: rank 1 is meant to fail\nTraceback")
    assert str(caught.value).count("Traceback") == 1
    assert time.monotonic() - began < 60


def test_a_hang_is_ended_by_the_watchdog_with_exit_4(tmp_path: Path) -> None:
    with pytest.raises(HostError, match=r"rank \d is in step 2, .*watchdog_s = 3") as caught:
        toy.run(toy.Options(str(tmp_path), engine="none", processes=2, steps=STEPS, hang_rank=1, watchdog_s=3))
    assert caught.value.exit_code == 4
    logs = "".join((tmp_path / "logs" / f"rank-{rank}.log").read_text() for rank in range(2))
    assert "in step 2, waiting for its data" in logs
    assert "every thread:" in logs


@pytest.mark.parametrize(
    "tensors", [3, pytest.param(0, marks=pytest.mark.soak), pytest.param(30, marks=pytest.mark.soak)]
)
def test_a_disk_that_fills_while_saving_is_exit_4_and_the_run_goes_on_from_the_checkpoint_before(
    tensors: int, uninterrupted: dict[tuple[str, int], Path], tmp_path: Path
) -> None:
    options = toy.Options(str(tmp_path), engine="zero2", processes=2, steps=STEPS)
    with pytest.raises(HostError, match=r"step-0000000\d: the disk is full") as caught:
        toy.run(replace(options, full_disk_after=tensors))
    assert caught.value.exit_code == 4
    left = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert left == ([] if tensors < 24 else ["latest", "step-00000002"]), "nothing half-written stays"
    toy.run(replace(options, resume=True))
    assert_same_run(tmp_path, uninterrupted["zero2", 2], STEPS, tolerance=0.0)


@pytest.mark.parametrize("number", [*(pytest.param(n, marks=pytest.mark.soak) for n in range(30))])
def test_stopped_at_a_random_moment_the_run_goes_on_the_same(
    number: int, uninterrupted: dict[tuple[str, int], Path], tmp_path: Path
) -> None:
    """kill -9 of the parent, SIGTERM, or a full disk, in the middle of whatever is done just then."""
    choose = random.Random(number)
    how = choose.choice([signal.SIGKILL, signal.SIGTERM, "full disk"])
    options = toy.Options(str(tmp_path), engine="zero2", processes=2, steps=STEPS, every=1, step_s=0.05)
    if how == "full disk":
        parent = start(replace(options, full_disk_after=choose.randint(0, 100)))
        parent.communicate(timeout=100)
    else:
        parent = start(options)
        wait_for_step(tmp_path, choose.randint(1, 4))
        time.sleep(choose.uniform(0, 0.3))
        os.kill(parent.pid, how)
        parent.communicate(timeout=60)
        time.sleep(1)  # the workers of a killed parent
    toy.run(replace(options, resume=True))
    assert_same_run(tmp_path, uninterrupted["zero2", 2], STEPS, tolerance=0.0)
