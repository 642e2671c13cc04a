"""Who this process is in a training run, and how its workers would be started.

`torchrun`, `accelerate launch` and `deepspeed` say it in RANK, LOCAL_RANK, WORLD_SIZE and MASTER_*; `srun` in SLURM_*.
A plain start has none of them: one process trains by itself, several are started by `training.processes.launcher`.
"""

import contextlib
import os
import re
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from aurora_cli.errors import UsageError


@dataclass(frozen=True)
class Rank:
    """One process of `world_size`."""

    rank: int = 0
    local_rank: int = 0
    world_size: int = 1
    master_addr: str = "127.0.0.1"
    master_port: int = 29500
    launcher: str = "aurora"

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def environment(self) -> dict[str, str]:
        """The variables that torch, accelerate and DeepSpeed read."""
        return {
            "RANK": str(self.rank),
            "LOCAL_RANK": str(self.local_rank),
            "WORLD_SIZE": str(self.world_size),
            "MASTER_ADDR": self.master_addr,
            "MASTER_PORT": str(self.master_port),
        }


def rank_from_environment(environ: Mapping[str, str] = os.environ) -> Rank | None:
    """This process's rank if a launcher started it; None for a plain start.

    Raises:
        UsageError: the launcher's variables contradict each other.
    """
    if "RANK" in environ and "WORLD_SIZE" in environ:
        launcher = "torchrun" if "TORCHELASTIC_RUN_ID" in environ else "WORLD_SIZE"
        return _checked(
            Rank(
                rank=_integer(environ, "RANK"),
                local_rank=_integer(environ, "LOCAL_RANK", environ["RANK"]),
                world_size=_integer(environ, "WORLD_SIZE"),
                master_addr=environ.get("MASTER_ADDR", "127.0.0.1"),
                master_port=_integer(environ, "MASTER_PORT", "29500"),
                launcher=launcher,
            )
        )
    if "ACCELERATE_MIXED_PRECISION" in environ:  # `accelerate launch` of a single process sets nothing else
        return Rank(master_port=free_port(), launcher="accelerate")
    return _slurm_rank(environ)


def _slurm_rank(environ: Mapping[str, str]) -> Rank | None:
    """The rank under `srun`. A batch script has SLURM_PROCID too, but no step: there, a start is a plain one."""
    tasks = environ.get("SLURM_STEP_NUM_TASKS") or environ.get("SLURM_NTASKS") or environ.get("SLURM_NPROCS")
    in_step = "SLURM_STEP_ID" in environ or "SLURM_STEPID" in environ
    in_batch_script = "SLURM_SUBMIT_DIR" in environ and not in_step
    if tasks is None or "SLURM_PROCID" not in environ or int(tasks) == 1 or in_batch_script:
        return None
    nodes = next(
        (environ[k] for k in ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST") if environ.get(k)),
        "127.0.0.1",
    )
    job = int(environ.get("SLURM_JOB_ID") or environ.get("SLURM_JOBID") or 0)
    return _checked(
        Rank(
            rank=_integer(environ, "SLURM_PROCID"),
            local_rank=_integer(environ, "SLURM_LOCALID", "0"),
            world_size=int(tasks),
            master_addr=environ.get("MASTER_ADDR") or first_host(nodes),
            # Every task must come to the same port without talking: the job's number, in the unprivileged range.
            master_port=_integer(environ, "MASTER_PORT", str(20_000 + job % 20_000)),
            launcher="srun",
        )
    )


def _checked(rank: Rank) -> Rank:
    if not 0 <= rank.rank < rank.world_size:
        raise UsageError(
            f"the launcher's environment contradicts itself: rank {rank.rank} of {rank.world_size} processes",
            hint="Unset RANK and WORLD_SIZE to start aurora plainly.",
        )
    return rank


def _integer(environ: Mapping[str, str], name: str, default: str = "0") -> int:
    value = environ.get(name, default)
    try:
        return int(value)
    except ValueError:
        raise UsageError(f"the environment variable {name} is {value!r}, expected a whole number") from None


def first_host(nodelist: str) -> str:
    """The first host of a SLURM node list.

    >>> first_host("gpu[007-009,12],login1"), first_host("a1,a2"), first_host("rack2-n[1,3]-ib")
    ('gpu007', 'a1', 'rack2-n1-ib')
    """
    match = re.match(r"([^\[,]*)(?:\[([^\],-]+)[^\]]*\])?([^\[,]*)", nodelist)
    assert match is not None
    return "".join(part or "" for part in match.groups())


@contextlib.contextmanager
def rank_environment(rank: Rank, *, alone: bool) -> Iterator[None]:
    """Make `rank` this process's environment for a while; `alone`: one process without an engine, which needs none.

    `accelerate launch` describes an engine in ACCELERATE_*; here the settings do, so its words are taken away.
    """
    before = dict(os.environ)
    for name in before:
        if name.startswith(("ACCELERATE_", "FSDP_")) or name in rank.environment():
            del os.environ[name]
    if not alone:
        os.environ.update(rank.environment())
    try:
        yield
    finally:
        for name in rank.environment():
            os.environ.pop(name, None)
        os.environ.update(before)


def use_passive_openmp() -> None:
    """Make OpenMP's threads give their core away soon where they wait for one another. Only before torch is imported.

    By default they spin for a millisecond or more. Where a loader's process or thread wants the core, that costs more
    than the work: on two busy cores a tiny model's step took 3.8 s spinning and 0.41 s sleeping, and 200 captions
    (GNU's OpenMP: spins of 20,000, 1,000, none) 19.4, 6.3 and 5.6 s of CPU. But on idle cores waking takes time: a step
    of decoding took 10.4 ms where they spin, 18.3 where they sleep at once, 12.9 at 1,000 spins, some 10 us.
    """
    if "OMP_WAIT_POLICY" in os.environ:
        return
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
