"""Who a process is, read from a launcher's variables."""

import os

import pytest

from aurora_cli.errors import UsageError
from aurora_cli.training.processes.ranks import (
    Rank,
    first_host,
    free_port,
    rank_environment,
    rank_from_environment,
)

TORCHRUN = {
    "RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "node7", "MASTER_PORT": "29511",
    "TORCHELASTIC_RUN_ID": "none",
}  # fmt: skip
SRUN = {
    "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_NTASKS": "8", "SLURM_STEP_ID": "0", "SLURM_JOB_ID": "123456",
    "SLURM_STEP_NODELIST": "gpu[007-008]", "SLURM_SUBMIT_DIR": "/home/me",
}  # fmt: skip


def test_a_plain_start_has_no_rank() -> None:
    assert rank_from_environment({"PATH": "/bin"}) is None


def test_torchrun_is_recognised() -> None:
    assert rank_from_environment(TORCHRUN) == Rank(3, 1, 4, "node7", 29511, "torchrun")


def test_deepspeeds_and_accelerates_launchers_say_the_same_variables() -> None:
    rank = rank_from_environment({"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_PORT": "29500"})
    assert rank is not None
    assert (rank.rank, rank.world_size, rank.master_addr) == (1, 2, "127.0.0.1")


def test_accelerate_launch_of_one_process_is_a_worker_too() -> None:
    rank = rank_from_environment({"ACCELERATE_MIXED_PRECISION": "no"})
    assert rank is not None
    assert (rank.rank, rank.world_size, rank.launcher) == (0, 1, "accelerate")


def test_srun_is_recognised_and_all_tasks_agree_on_host_and_port() -> None:
    ranks = [rank_from_environment({**SRUN, "SLURM_PROCID": str(task)}) for task in range(8)]
    assert [rank.rank for rank in ranks if rank] == list(range(8))
    assert {(rank.master_addr, rank.master_port, rank.world_size) for rank in ranks if rank} == {("gpu007", 23456, 8)}


def test_srun_without_job_variables_is_recognised() -> None:
    rank = rank_from_environment({"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_LOCALID": "1"})
    assert rank == Rank(1, 1, 2, "127.0.0.1", 20_000, "srun")


def test_a_start_inside_a_batch_script_is_a_plain_one() -> None:
    batch = {name: value for name, value in SRUN.items() if not name.startswith("SLURM_STEP")}
    assert rank_from_environment({**batch, "SLURM_PROCID": "0"}) is None


def test_one_task_with_many_gpus_starts_its_own_processes() -> None:
    assert rank_from_environment({**SRUN, "SLURM_NTASKS": "1", "SLURM_PROCID": "0"}) is None


@pytest.mark.parametrize(
    "wrong", [{"RANK": "4"}, {"RANK": "-1"}, {"RANK": "x"}, {"WORLD_SIZE": "two"}, {"MASTER_PORT": "http"}]
)
def test_variables_that_make_no_sense_are_usage_errors(wrong: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        rank_from_environment({**TORCHRUN, **wrong})


def test_the_first_host_of_a_node_list() -> None:
    assert [first_host(nodes) for nodes in ("a", "a,b", "n[3-5]", "n[03,07]", "r1-n[1-2],r2")] == [
        "a", "a", "n3", "n03", "r1-n1",
    ]  # fmt: skip


def test_the_environment_is_as_before_after_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.delenv("MASTER_PORT", raising=False)
    before = dict(os.environ)
    with rank_environment(Rank(1, 0, 2, "here", 1234), alone=False):
        assert os.environ["RANK"] == "1"
        assert os.environ["MASTER_PORT"] == "1234"
        assert "ACCELERATE_USE_DEEPSPEED" not in os.environ
    assert dict(os.environ) == before
    with rank_environment(Rank(), alone=True):
        assert "LOCAL_RANK" not in os.environ
    assert dict(os.environ) == before


def test_ports_are_free() -> None:
    assert 1024 <= free_port() <= 65535
