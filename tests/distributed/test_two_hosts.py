"""`aurora train` over two hosts: the same losses as on one, and what is left when one of them is gone.

Two hosts are two network namespaces (tests/hosts.py); nothing is set that a user of a cluster would not set.
"""

import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.distributed.tiny_workspace import settings
from tests.hosts import Host, started, two_hosts
from tests.run_files import json_lines

METRICS = "runs/language/metrics.jsonl"
ENDLESS = 400
"""Steps of a run that is stopped before."""
WATCHDOG_S = 2.0


@pytest.fixture
def hosts() -> Iterator[tuple[Host, Host]]:
    with two_hosts() as both:
        yield both


def workspace(tokenized: Path, folder: Path, max_steps: int) -> Path:
    root = Path(shutil.copytree(tokenized, folder))
    chosen = settings(root, "language", after=None, max_steps=max_steps, watchdog_s=WATCHDOG_S)
    tree = chosen.model_dump(mode="json", include={"model", "merging", "train", "data", "checkpoint"})
    (root / "aurora.yaml").write_text(yaml.safe_dump(tree))
    return root


def aurora(root: Path, *more: str) -> list[str]:
    return ["-m", "aurora_cli", "train", "--workspace", str(root), "--stage", "language", *more]


def under_slurm(hosts: tuple[Host, Host], root: Path, engine: str, *, each: int = 1) -> "list[subprocess.Popen[str]]":
    """`each`: tasks of a host."""
    variables = {"SLURM_JOB_NODELIST": "node[1-2]", "SLURM_STEP_ID": "0", "SLURM_JOB_ID": "4711"}
    command = [sys.executable, *aurora(root, "--deepspeed", engine)]
    tasks = [(host, local) for host in hosts for local in range(each)]
    variables["SLURM_NTASKS"] = str(len(tasks))
    return started(
        (host, command, {**variables, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(local)})
        for rank, (host, local) in enumerate(tasks)
    )


def under_torchrun(hosts: tuple[Host, Host], root: Path, engine: str) -> "list[subprocess.Popen[str]]":
    launcher = ["-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d"]
    launcher += ["--rdzv-endpoint", "node1:29400", "--rdzv-id", "two-hosts"]
    command = [sys.executable, *launcher, *aurora(root, "--deepspeed", engine)]
    return started((host, command, {}) for host in hosts)


def wait_for_step(root: Path, step: int, processes: "list[subprocess.Popen[str]]") -> None:
    wait_for(lambda: (root / METRICS).is_file() and (root / METRICS).read_text().count("\n") >= step, processes)


def wait_for(there: Callable[[], bool], processes: "list[subprocess.Popen[str]]") -> None:
    deadline = time.monotonic() + 60
    while not there():
        if time.monotonic() > deadline or any(process.poll() for process in processes):
            for process in processes:
                process.terminate()
            pytest.fail(str([process.communicate()[1] for process in processes]))
        time.sleep(0.01)


def ends(processes: "list[subprocess.Popen[str]]") -> list[tuple[int, str]]:
    """Exit code and the last error of each."""
    said = [process.communicate(timeout=60)[1] for process in processes]
    errors = [text[text.rfind("error: ") :] for text in said]
    return [(process.returncode, error) for process, error in zip(processes, errors, strict=True)]


def on_one_host(root: Path, steps: int, *more: str) -> str:
    """Train, from wherever the run is, until so many steps are done; what was said."""
    command = [sys.executable, *aurora(root, *more)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as one:
        wait_for_step(root, steps, [one])
        one.send_signal(signal.SIGTERM)
        _, said = one.communicate(timeout=60)
    assert one.returncode in (0, 130), said
    return said


def steps_of(root: Path) -> list[dict[str, Any]]:
    found = json_lines(root / METRICS)
    return [{key: line[key] for key in ("step", "loss", "grad_norm", "lr", "samples")} for line in found]


@pytest.fixture(scope="module")
def undisturbed(tokenized: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """The first steps of the endless run, on one process."""
    root = workspace(tokenized, tmp_path_factory.mktemp("one") / "workspace", ENDLESS)
    on_one_host(root, 16)
    return steps_of(root)


def assert_goes_on(root: Path, reference: list[dict[str, Any]]) -> None:
    """The rerun, on one host, begins at the last checkpoint, and what all of them did is the run of one process."""
    latest = (root / "runs/language/checkpoints/latest").read_text().strip()
    said = on_one_host(root, int(latest.removeprefix("step-")) + 3)
    assert f"weights from {root / 'runs/language/checkpoints' / latest}" in said
    done = steps_of(root)
    assert [line["step"] for line in done] == list(range(1, len(done) + 1))
    assert len(done) >= int(latest.removeprefix("step-")) + 3
    for line, expected in zip(done, reference, strict=False):
        assert line == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_a_host_cut_off_in_a_step_ends_both_with_exit_4_and_the_run_goes_on_on_one(
    tokenized: Path, hosts: tuple[Host, Host], undisturbed: list[dict[str, Any]], tmp_path: Path
) -> None:
    root = workspace(tokenized, tmp_path / "workspace", ENDLESS)
    processes = under_slurm(hosts, root, "zero3")
    wait_for_step(root, 3, processes)
    hosts[1].cut_off()
    began = time.monotonic()
    (one, said), (other, other_said) = ends(processes)
    assert time.monotonic() - began < WATCHDOG_S + 10
    assert (one, other) == (4, 4), (said, other_said)
    assert "node2 (rank 1) cannot be reached" in said
    assert "node1 (rank 0) cannot be reached" in other_said
    assert_goes_on(root, undisturbed)


@pytest.mark.soak
@pytest.mark.parametrize("start", [under_slurm, under_torchrun])
@pytest.mark.parametrize("engine", ["zero2", "zero3"])
def test_two_hosts_give_the_losses_of_one_with_two_processes(
    start: Any, engine: str, tokenized: Path, hosts: tuple[Host, Host], tmp_path: Path
) -> None:
    two, one = (workspace(tokenized, tmp_path / name, 8) for name in ("two", "one"))
    assert [code for code, _ in ends(start(hosts, two, engine))] == [0, 0]
    on_one_host(one, 8, "--num-processes", "2", "--deepspeed", engine)
    assert len(steps_of(two)) == 8
    assert steps_of(two) == steps_of(one)


@pytest.mark.soak
def test_two_processes_of_each_host_end_and_name_both_of_the_other(
    tokenized: Path, hosts: tuple[Host, Host], undisturbed: list[dict[str, Any]], tmp_path: Path
) -> None:
    root = workspace(tokenized, tmp_path / "workspace", ENDLESS)
    processes = under_slurm(hosts, root, "zero3", each=2)
    wait_for_step(root, 3, processes)
    hosts[1].cut_off()
    ended = ends(processes)
    assert [code for code, _ in ended] == [4] * 4, ended
    assert all("node2 (ranks 2, 3) cannot be reached" in said for _, said in ended[:2]), ended
    assert all("node1 (rank" in said for _, said in ended[2:]), ended
    assert_goes_on(root, undisturbed)


@pytest.mark.soak
@pytest.mark.parametrize("killed", [0, 1])
@pytest.mark.parametrize("engine", ["zero2", "zero3"])
def test_a_killed_process_is_named_by_the_other_hosts(
    killed: int,
    engine: str,
    tokenized: Path,
    hosts: tuple[Host, Host],
    undisturbed: list[dict[str, Any]],
    tmp_path: Path,
) -> None:
    root = workspace(tokenized, tmp_path / "workspace", ENDLESS)
    processes = under_slurm(hosts, root, engine)
    wait_for_step(root, 3, processes)
    processes[killed].kill()
    began = time.monotonic()
    code, said = ends(processes)[1 - killed]
    assert (code, time.monotonic() - began < WATCHDOG_S + 10) == (4, True), said
    assert f"node{killed + 1} (rank {killed}) has ended" in said
    assert_goes_on(root, undisturbed)


@pytest.mark.soak
@pytest.mark.parametrize("number", range(12))
def test_a_host_cut_off_at_any_moment_ends_both_and_the_run_goes_on(
    number: int, tokenized: Path, hosts: tuple[Host, Host], undisturbed: list[dict[str, Any]], tmp_path: Path
) -> None:
    """While they meet, load, plan, compute, save."""
    choose = random.Random(number)
    root = workspace(tokenized, tmp_path / "workspace", ENDLESS)
    processes = under_slurm(hosts, root, choose.choice(["none", "zero2", "zero3"]))
    begun = root / choose.choice(["runs/language/config.yaml", METRICS])
    wait_for(begun.exists, processes)
    time.sleep(choose.uniform(0, 1))
    choose.choice(hosts).cut_off()
    began = time.monotonic()
    (one, said), (other, other_said) = ends(processes)
    took = time.monotonic() - began
    print(f"{took:.1f} s: {said.splitlines()[0]} | {other_said.splitlines()[0]}")
    assert took < WATCHDOG_S + 10
    assert (one, other) == (4, 4), (said, other_said)
    assert "node2 (rank 1) cannot be reached" in said
    assert "node1 (rank 0) cannot be reached" in other_said
    if (root / "runs/language/checkpoints/latest").exists():
        assert_goes_on(root, undisturbed)
