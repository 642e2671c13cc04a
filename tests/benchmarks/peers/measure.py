"""A command run to its end: CPU seconds and peak memory of all its processes."""

import os
import subprocess
import threading
from pathlib import Path
from typing import NamedTuple

EVERY_S = 0.25
"""Between two looks at the memory; a step takes seconds."""

PSS, ANONYMOUS = "Pss:", "Pss_Anon:"
"""What the kernel sums up of a process; what processes share counts once among them."""


class Failed(Exception):
    """A command came to an end of its own; what it was, and the last that it printed."""


class Cost(NamedTuple):
    """What a run took."""

    cpu_s: float
    peak_mb: float
    """PSS: what processes share counts once."""
    anonymous_mb: float = 0.0
    """The most of it that was no page of a file: what the processes allocated. Not at the same time as `peak_mb`."""


def environment(threads: int) -> dict[str, str]:
    """The same for all. Threads that spin while they wait would count as work."""
    own = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false"}
    return os.environ | own | {"HF_HUB_OFFLINE": "1"}


def measured(command: list[str], threads: int, every_s: float = EVERY_S) -> Cost:
    """What a command takes, its memory looked at every so often.

    Raises:
        Failed: it did.
    """
    peak, over = {PSS: 0.0, ANONYMOUS: 0.0}, threading.Event()
    before = os.times()
    child = subprocess.Popen(
        command, env=environment(threads), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    watch = threading.Thread(target=_watch, args=(child.pid, peak, over, every_s))
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
    seconds = after.children_user + after.children_system - before.children_user - before.children_system
    return Cost(seconds, peak[PSS], peak[ANONYMOUS])


def run(command: list[str], threads: int = 2) -> str:
    """What it prints.

    Raises:
        Failed: it did.
    """
    done = subprocess.run(command, env=environment(threads), capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"{' '.join(command)}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def _watch(pid: int, peak: dict[str, float], over: threading.Event, every_s: float) -> None:
    import psutil

    while not over.wait(every_s):
        try:
            tree = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
        except psutil.NoSuchProcess:
            continue
        sums = [_memory_kb(each) for each in tree]
        for kind in peak:
            peak[kind] = max(peak[kind], sum(found.get(kind, 0) for found in sums) / 1024)


def _memory_kb(pid: int) -> dict[str, int]:
    """The kernel's sums: the list of every mapping takes ten times as long, in which the process waits for its own."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:  # it has ended
        return {}
    fields = (line.split() for line in lines[1:])
    return {name: int(kb) for name, kb, *_ in fields if name in (PSS, ANONYMOUS)}
