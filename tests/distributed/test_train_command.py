"""`aurora train` as a user starts it: several processes, foreign launchers, signals, machines without a compiler."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from aurora_cli.pipeline.train import command as train
from aurora_cli.training.processes.ranks import free_port
from tests.distributed.tiny_workspace import settings
from tests.preloaded import ORDINARY
from tests.run_files import json_lines

STEPS = 4


@pytest.fixture
def root(tokenized: Path, tmp_path: Path) -> Path:
    """A workspace whose aurora.yaml says all, so that commands need no flags but the stage."""
    workspace = Path(shutil.copytree(tokenized, tmp_path / "workspace"))
    chosen = settings(workspace, "language", after=None, max_steps=STEPS)
    tree = chosen.model_dump(mode="json", include={"model", "merging", "train", "data", "checkpoint"})
    (workspace / "aurora.yaml").write_text(yaml.safe_dump(tree))
    return workspace


@pytest.fixture(scope="module")
def one_process(tokenized: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    workspace = Path(shutil.copytree(tokenized, tmp_path_factory.mktemp("reference") / "workspace"))
    train.run(settings(workspace, "language", after=None, max_steps=STEPS))
    return lines(workspace)


def lines(root: Path) -> list[dict[str, Any]]:
    return json_lines(root / "runs/language/metrics.jsonl")


def command(root: Path, *args: str) -> list[str]:
    return ["train", "--workspace", str(root), "--stage", "language", *args]


def aurora() -> list[str]:
    return [sys.executable, "-m", "aurora_cli"]


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", **more}


def assert_same_losses(ours: list[dict[str, Any]], theirs: list[dict[str, Any]], tolerance: float = 1e-5) -> None:
    assert [line["step"] for line in ours] == list(range(1, STEPS + 1))
    assert [line["loss"] for line in ours] == pytest.approx([line["loss"] for line in theirs], abs=tolerance)
    assert [line["samples"] for line in ours] == [line["samples"] for line in theirs]


def test_two_processes_train_under_zero2_and_rank_0_alone_speaks(root: Path, one_process: list[dict[str, Any]]) -> None:
    done = subprocess.run(
        [*aurora(), *command(root, "--num-processes", "2", "--json")], capture_output=True, text=True, env=environment()
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["engine"], result["processes"], result["step"]) == ("zero2", 2, STEPS)
    assert done.stderr.count("samples; engine zero2") == 1
    assert_same_losses(lines(root), one_process)


def test_torchrun_starts_workers_that_agree(root: Path, one_process: list[dict[str, Any]]) -> None:
    launcher = [ORDINARY, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    launcher += ["--master-port", str(free_port()), "-m", "aurora_cli"]
    arguments = command(root, "--deepspeed", "none", "--json")
    done = subprocess.run([*launcher, *arguments], capture_output=True, text=True, env=environment())
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["processes"] == 2
    assert_same_losses(lines(root), one_process)


def test_the_deepspeed_launcher_starts_workers_that_agree(root: Path, one_process: list[dict[str, Any]]) -> None:
    launcher = [sys.executable, "-m", "deepspeed.launcher.runner", "--num_gpus", "2"]
    launcher += ["--master_port", str(free_port()), "--module", "aurora_cli"]
    path = f"{Path(ORDINARY).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [*launcher, *command(root, "--deepspeed", "zero2")], capture_output=True, text=True, env=environment(PATH=path)
    )
    assert done.returncode == 0, done.stderr
    assert_same_losses(lines(root), one_process)


def test_slurms_variables_make_two_processes_one_run(root: Path, one_process: list[dict[str, Any]]) -> None:
    slurm = {"SLURM_NTASKS": "2", "SLURM_JOB_NODELIST": "127.0.0.1", "SLURM_STEP_ID": "0", "SLURM_JOB_ID": "4711"}
    tasks = [
        subprocess.Popen(
            [*aurora(), *command(root, "--deepspeed", "none", "--json")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=environment(**slurm, SLURM_PROCID=str(task), SLURM_LOCALID=str(task), MASTER_PORT="29753"),
        )
        for task in range(2)
    ]  # fmt: skip
    said = [task.communicate(timeout=120) for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], said
    assert json.loads(said[0][0])["step"] == STEPS
    assert said[1][0] == ""
    assert "settings" in said[0][1]
    assert "settings" not in said[1][1]
    assert_same_losses(lines(root), one_process)


def test_without_data_two_workers_of_a_launcher_say_so_once(tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    launcher += ["--master-port", str(free_port()), "-m", "aurora_cli"]
    arguments = ["train", "--workspace", str(tmp_path), "--set", "train.global_batch_packs=4"]
    arguments += ["--set", "train.micro_batch_packs=1", "--stage", "projection", "--deepspeed", "none"]
    done = subprocess.run([*launcher, *arguments], capture_output=True, text=True, env=environment())
    assert done.returncode != 0
    assert done.stderr.count("aurora download --split projection") == 1
    assert done.stderr.count("no merged shards") == 1


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGKILL])
def test_stopped_and_started_again_the_run_is_the_same(
    stop: signal.Signals, root: Path, one_process: list[dict[str, Any]]
) -> None:
    first = subprocess.Popen(
        [*aurora(), *command(root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    metrics = root / "runs/language/metrics.jsonl"
    deadline = time.monotonic() + 100
    while not (metrics.is_file() and metrics.read_text().count("\n") >= 2) and first.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    first.send_signal(stop)
    _, errors = first.communicate(timeout=60)
    if first.returncode != 0:  # it may have come to its end in that moment
        assert first.returncode == (130 if stop == signal.SIGTERM else -9), errors
    again = subprocess.run([*aurora(), *command(root)], capture_output=True, text=True, env=environment())
    assert again.returncode == 0, again.stderr
    assert_same_losses(lines(root), one_process, tolerance=0.0)


def test_zero2_needs_no_compiler_no_ninja_and_no_extension_cache(
    root: Path, one_process: list[dict[str, Any]], tmp_path: Path
) -> None:
    bare = {"PATH": str(tmp_path / "empty"), "HOME": str(tmp_path), "TORCH_EXTENSIONS_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [*aurora(), *command(root, "--deepspeed", "zero2")], capture_output=True, text=True,
        env={"OMP_NUM_THREADS": "1", **bare},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "cache").exists() or not any((tmp_path / "cache").rglob("*.so"))
    assert_same_losses(lines(root), one_process)
