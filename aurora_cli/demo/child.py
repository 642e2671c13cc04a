"""One command of the demo, run as a person would: a process in the workspace, whose output goes to the log."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aurora_cli.console import Reporter
from aurora_cli.errors import EXIT_INTERRUPTED, AuroraError, Interrupted

SHOWN_LINES = 12
"""Of what a command prints; `merge-shards` and `caption` print more than a person reads here."""

THREADS = "1"
"""Of a process, where the environment does not say otherwise: the tiny model's products are too small for two, which
take 17 % more CPU seconds, beside other work 44 %. The other core decodes."""

PR_SET_PDEATHSIG = 1


class StepFailed(AuroraError):
    """A command of the demo ended with an error, which stands in its output; its exit code is the demo's."""

    def __init__(self, message: str, exit_code: int, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Step:
    """A command that was run."""

    command: str
    seconds: float


def run_command(folder: Path, command: Sequence[str], reporter: Reporter) -> Step:
    """Run one command in the workspace.

    Raises:
        StepFailed: it ended with an error.
        Interrupted: it was stopped.
    """
    words = f"aurora {' '.join(command)}"
    reporter.info(f"\n$ {words}")
    began = time.monotonic()
    environment = {"OMP_NUM_THREADS": THREADS, **os.environ}
    environment.pop("AURORA_WORKSPACE", None)
    child = subprocess.Popen(
        [sys.executable, "-m", "aurora_cli", *command],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=_die_with_parent,
    )
    assert child.stdout is not None
    try:
        lines = 0
        for lines, line in enumerate(child.stdout, 1):
            if lines <= SHOWN_LINES:
                reporter.info(line.rstrip("\n"))
        if lines > SHOWN_LINES:
            reporter.info(f"... and {lines - SHOWN_LINES} lines more")
        code = child.wait()
    except BaseException:
        child.send_signal(signal.SIGINT)
        child.wait()
        raise
    seconds = time.monotonic() - began
    if code == EXIT_INTERRUPTED:
        raise Interrupted(f"`{words}` was interrupted; the work so far is safe", hint="aurora demo continues.")
    if code:
        raise StepFailed(
            f"`{words}` ended with exit {code}",
            code if code > 0 else 128 - code,
            hint=f"Its message is above; its workspace is {folder}.",
        )
    reporter.info(f"({seconds:.1f} s)")
    return Step(words, round(seconds, 2))


def _die_with_parent() -> None:
    """A killed demo takes its command with it: the next run must not find it still at work."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
