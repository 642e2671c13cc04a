"""A program that begins with its imports done ends as an ordinary one does."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

SAY = "import os, sys\nprint(os.getpid(), 'torch' in sys.modules, flush=True)\n"


@contextlib.contextmanager
def begun(programs: Path, script: str, **environment: str) -> Iterator[tuple["subprocess.Popen[str]", int, bool]]:
    """The process, the pid of the one that does its work, and whether that began with torch."""
    with subprocess.Popen(
        [programs / "python", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **environment},
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(SAY + script)
        process.stdin.close()
        pid, has_torch = process.stdout.readline().split()
        yield process, int(pid), has_torch == "True"


def test_its_exit_code_is_that_of_the_work(programs: Path) -> None:
    with begun(programs, "raise SystemExit(7)") as (process, pid, has_torch):
        assert (process.wait(20), has_torch, pid == process.pid) == (7, True, False)


def test_it_waits_for_threads_calls_what_is_to_be_called_at_its_end_and_says_why_it_ends(programs: Path) -> None:
    script = """
import atexit, sys, threading, time
atexit.register(print, "at exit")
threading.Thread(target=lambda: (time.sleep(0.1), print("thread"))).start()
sys.exit("for this reason")
"""
    done = subprocess.run([programs / "python", "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (1, "thread\nat exit\n", "for this reason\n")


def test_a_signal_reaches_the_work_and_is_its_end(programs: Path) -> None:
    with begun(programs, "import signal; signal.pause()") as (process, _, _):
        process.terminate()
        assert process.wait(20) == -signal.SIGTERM


def test_killed_it_takes_the_work_with_it(programs: Path) -> None:
    with begun(programs, "import signal; signal.pause()") as (process, _, _):
        assert process.stdout is not None
        process.kill()
        assert process.stdout.read() == ""  # the work held it open


def test_what_decides_an_import_is_given_to_an_ordinary_one(programs: Path) -> None:
    with begun(programs, "", TORCH_LOGS="aot") as (process, pid, has_torch):
        assert (process.wait(20), has_torch, pid == process.pid) == (0, False, True)
