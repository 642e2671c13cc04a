"""What a lock file says: whose it is, since when; and whether that process is over.

`flock` alone answers that on one machine. A filesystem that several machines share may keep each machine's flock to
itself, so a lock of another machine is judged by what it says and by when its holder last touched it.
"""

import fcntl
import os
import socket
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from aurora_cli.io.json_files import StoredModel

BEAT_S = 15.0
"""How often a holder touches its lock."""
STALE_S = 180.0
"""A holder of another machine that has not touched its lock for so long may be gone."""
SETTLED_S = 1.0
"""A lock that was touched more recently may be half made."""


class Claim(StoredModel):
    """The content of a lock file. It appears whole."""

    WHAT = "a lock"

    purpose: str
    """The command."""
    host: str
    boot: str
    """The running kernel: containers on one machine share it, and a machine has another after it was started again."""
    namespace: int
    """The numbers of processes count within it."""
    process: int
    started: int
    """When the process did, in ticks of that kernel: a number is given again to a later process."""
    since: str
    """UTC, by the clock of the host."""
    token: str
    """Of this claim alone."""
    job: str = ""
    """SLURM's number, if the process is of a job."""
    restarts: int = 0
    """How often SLURM has put that job into its queue again."""

    def __str__(self) -> str:
        return f"{self.purpose} (process {self.process} on {self.host} since {self.since} UTC)"

    def is_over(self, lock: Path, untouched_s: float) -> bool:
        """Whether its process is certainly gone; `untouched_s`: how long ago it touched its lock."""
        if self.boot != this_boot():
            return self._was_queued_again() or (
                self.host == socket.gethostname() and untouched_s > max(STALE_S, _uptime_s())
            )
        if is_flocked(lock):
            return False
        if self.namespace == _namespace():
            return not _is_running(self.process, self.started)
        return untouched_s > SETTLED_S

    def _was_queued_again(self) -> bool:
        """The same job, in an earlier life: SLURM never runs two."""
        job, restarts = _slurm_job()
        return bool(job) and self.job == job and self.restarts < restarts


def claim_of_this_process(purpose: str, token: str) -> Claim:
    job, restarts = _slurm_job()
    return Claim(
        purpose=purpose,
        host=socket.gethostname(),
        boot=this_boot(),
        namespace=_namespace(),
        process=os.getpid(),
        started=_started(os.getpid()) or 0,
        since=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
        token=token,
        job=job,
        restarts=restarts,
    )


def read_claim(content: str) -> Claim | None:
    """None: another version's, or a half made one."""
    try:
        return Claim.model_validate_json(content)
    except ValidationError:
        return None


def is_flocked(lock: Path) -> bool:
    """Whether a process has a flock on it that this machine knows of; no, where there is no flock."""
    try:
        with open(lock, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def this_boot() -> str:
    """Of the kernel that runs this process: another one after each start of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return socket.gethostname()


def _namespace() -> int:
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0


def _is_running(process: int, started: int) -> bool:
    if (found := _started(process)) is not None:
        return found == started
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's, whom /proc does not show
        pass
    return True


def _started(process: int) -> int | None:
    """When it did, in ticks since the kernel's start; -1: it has ended; none: /proc does not say."""
    try:
        _, _, rest = Path(f"/proc/{process}/stat").read_text().rpartition(")")  # the name before it may hold anything
    except OSError:
        return None
    state, *fields = rest.split()
    return -1 if state in "ZX" else int(fields[18])


def _uptime_s() -> float:
    try:
        return float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        return float("inf")


def _slurm_job() -> tuple[str, int]:
    restarts = os.environ.get("SLURM_RESTART_COUNT", "0")
    return os.environ.get("SLURM_JOB_ID", ""), int(restarts) if restarts.isdecimal() else 0
