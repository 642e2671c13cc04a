"""A training process that `training.processes.launcher` started: it reports over a pipe, and ends with its parent."""

import contextlib
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

from aurora_cli.console import NotedAdvance, Reporter, unheard
from aurora_cli.errors import EXIT_BUG, EXIT_INTERRUPTED, AuroraError, HostError, Interrupted

REPORTS_FD = "AURORA_WORKER_REPORTS_FD"
LIFELINE_FD = "AURORA_WORKER_LIFELINE_FD"


class WorkerError(NamedTuple):
    """What ended a worker, as it travels to the parent."""

    rank: int
    time: float
    """When, in seconds of the epoch: the first of several errors is the cause."""
    type: str
    """Name of the exception's class."""
    message: str
    hint: str | None
    traceback: str


class PipeReporter(Reporter):
    """Says everything to the parent process."""

    def __init__(self, descriptor: int, rank: int) -> None:
        self._file = os.fdopen(descriptor, "w", encoding="utf-8", buffering=1)
        self._rank = rank
        self._bars = 0
        self._lock = threading.Lock()

    def send(self, kind: str, **content: object) -> None:
        line = json.dumps({"kind": kind, **content}) + "\n"
        with self._lock, contextlib.suppress(BrokenPipeError):  # the lifeline ends this process in a moment
            self._file.write(line)
            self._file.flush()

    def info(self, message: str) -> None:
        if self._rank == 0:
            self.send("info", message=message)

    def warning(self, message: str) -> None:
        if self._rank == 0:
            self.send("warning", message=message)

    @contextlib.contextmanager
    def progress(self, description: str, total: int | None, unit: str = "items") -> Iterator[NotedAdvance]:
        with self._bar(description=description, total=total, unit=unit) as advance:
            yield advance

    @contextlib.contextmanager
    def training(self, stage: str, total: int, run_dir: Path) -> Iterator[NotedAdvance]:
        with self._bar(stage=stage, total=total, run_dir=str(run_dir)) as advance:
            yield advance

    @contextlib.contextmanager
    def _bar(self, **what: object) -> Iterator[NotedAdvance]:
        """A bar of the parent's; of rank 0 alone."""
        if self._rank != 0:
            yield unheard
            return
        self._bars += 1
        bar = self._bars
        self.send("begin", bar=bar, **what)
        try:
            yield lambda amount, note="", /: self.send("advance", bar=bar, amount=amount, note=note)
        finally:
            self.send("end", bar=bar)

    def fail(self, error: BaseException) -> int:
        """Report `error` and return the exit code that it stands for."""
        if isinstance(error, KeyboardInterrupt):
            error = Interrupted("stopped before the first step")
        expected = error if isinstance(error, AuroraError) else None
        failure = WorkerError(
            rank=self._rank,
            time=time.time(),
            type=type(error).__name__,
            message=f"{type(error).__name__}: {error}" if expected is None else expected.message,
            hint=None if expected is None else expected.hint,
            traceback="".join(traceback.format_exception(error)),
        )
        self.send("error", **failure._asdict())
        return EXIT_BUG if expected is None else expected.exit_code


def serve(work: Callable[[Reporter], str]) -> NoReturn:
    """Be a worker: do `work`, report, and leave without the interpreter's clean-up, in which gloo's threads abort.

    The text that `work` returns is what `run_workers` returns of rank 0, and `run_apart` of all.
    """
    rank = int(os.environ["RANK"])
    reporter = PipeReporter(int(os.environ.pop(REPORTS_FD)), rank)
    threading.Thread(target=_end_with_parent, args=(int(os.environ.pop(LIFELINE_FD)),), daemon=True).start()
    try:
        result = work(reporter)
        reporter.send("result", result=result)
        code = 0
    except BaseException as error:
        code = reporter.fail(error)
        with contextlib.suppress(OSError):  # the log lies in the run's folder, whose disk may be full
            traceback.print_exception(error)
    exit_now(code)


def end_from_thread(reporter: Reporter, error: HostError) -> NoReturn:
    """Say why, and end this process, whose main thread waits for what does not come."""
    if isinstance(reporter, PipeReporter):
        reporter.fail(error)
    else:
        below = "\n" * os.isatty(2)  # what is drawn there ends without a line break
        os.write(2, f"{below}error: {error}\n".encode())
    exit_now(error.exit_code)


def exit_now(code: int) -> NoReturn:
    """End this process now, its output flushed where there is room for it."""
    for output in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            output.flush()
    os._exit(code)


def _end_with_parent(lifeline: int) -> None:
    os.read(lifeline, 1)
    os._exit(EXIT_INTERRUPTED)
