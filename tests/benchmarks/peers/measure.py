"""A command run to its end: CPU seconds and peak memory of all its processes."""

import os
import subprocess
import threading
from pathlib import Path
from typing import NamedTuple

EVERY_S = 0.25
"""Between two looks at the memory; a step takes seconds."""


class Failed(Exception):
    """A command came to an end of its own; what it was, and the last that it printed."""


class Cost(NamedTuple):
    """What a run took."""

    cpu_s: float
    peak_mb: float
    """PSS: what processes share counts once."""


def environment(threads: int) -> dict[str, str]:
    """The same for all. Threads that spin while they wait would count as work."""
    own = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
    return os.environ | own | {"HF_HUB_OFFLINE": "1"}


def measured(command: list[str], threads: int) -> Cost:
    """Raises: Failed."""
    peak, over = [0.0], threading.Event()
    before = os.times()
    child = subprocess.Popen(
        command, env=environment(threads), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    watch = threading.Thread(target=_watch, args=(child.pid, peak, over))
    watch.start()
    try:
        output, _ = child.communicate()
    finally:
        if child.poll() is None:
            child.kill()
        over.set()
        watch.join()
    after = os.times()
    if child.returncode:
        raise Failed(f"{' '.join(command)}\n{output[-3000:]}")
    return Cost(after.children_user + after.children_system - before.children_user - before.children_system, peak[0])


def run(command: list[str], threads: int = 2) -> str:
    """What it prints.

    Raises:
        Failed: it did.
    """
    done = subprocess.run(command, env=environment(threads), capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def _watch(pid: int, peak: list[float], over: threading.Event) -> None:
    import psutil

    while not over.wait(EVERY_S):
        try:
            tree = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
        except psutil.NoSuchProcess:
            continue
        peak[0] = max(peak[0], sum(map(_pss_kb, tree)) / 1024)


def _pss_kb(pid: int) -> int:
    """The kernel's sum: the list of every mapping takes ten times as long, in which the process waits for its own."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
