"""Several training processes on this machine: started, listened to, and ended together.

A worker reports over a pipe, a JSON object a line: what its reporter says, and at the end a result or an error. It
also holds the reading end of a pipe that nobody writes to: when the parent is gone, even by kill -9, that pipe closes
and the worker ends. Workers are in sessions of their own, so that Ctrl-C reaches only the parent, which passes it on.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from aurora_cli import errors
from aurora_cli.console import NotedAdvance, Reporter
from aurora_cli.errors import AuroraError, HostError, Interrupted
from aurora_cli.io.endings import end_of
from aurora_cli.io.json_files import JsonObject
from aurora_cli.training.processes.ranks import Rank, free_port
from aurora_cli.training.processes.signals import on_stop_signals
from aurora_cli.training.processes.worker import LIFELINE_FD, REPORTS_FD, WorkerError

GRACE_S = 5.0
"""After a first failure, how long the others get to fail by themselves; their errors come later and are not shown."""


class WorkerFailed(Exception):
    """A worker ended by a bug; the message is its traceback."""


def run_workers(command: Sequence[str], world_size: int, *, logs: Path, reporter: Reporter) -> str:
    """Start `world_size` processes of `command`, wait for all, and return the text that rank 0 reports as its result.

    Raises:
        AuroraError: the first that any worker raised.
        WorkerFailed: the first bug.
        HostError: a worker was killed from outside.
        Interrupted: a signal stopped them.
    """
    workers, was_stopped = _run(command, world_size, logs, reporter, apart=False)
    result = workers[0].result
    if was_stopped and result is None and not any(worker.error for worker in workers):
        raise Interrupted("stopped before the first step")
    _raise_first_failure(workers)
    if result is None:
        raise WorkerFailed(f"rank 0 ended without a result; its output is in {workers[0].log}")
    return result


def run_apart(command: Sequence[str], count: int, *, logs: Path, reporter: Reporter) -> list[str]:
    """Start `count` processes that do without one another, and return what each reports: one that fails is told of, and
    the others go on.

    Raises:
        AuroraError: the first that any of them raised.
        WorkerFailed: the first bug.
        HostError: one was killed from outside.
        Interrupted: a signal stopped them.
    """
    workers, was_stopped = _run(command, count, logs, reporter, apart=True)
    if was_stopped:
        raise Interrupted("interrupted; the work so far is safe", hint="Run the same command again to continue.")
    _raise_first_failure(workers)
    return [worker.result or "" for worker in workers]


def _run(
    command: Sequence[str], world_size: int, logs: Path, reporter: Reporter, *, apart: bool
) -> tuple[list["_Worker"], bool]:
    """The workers after their end, and whether a signal made it."""
    logs.mkdir(parents=True, exist_ok=True)
    port = free_port()
    lifeline_read, lifeline_write = os.pipe()
    workers: list[_Worker] = []
    signals: list[int] = []

    def pass_on(signum: int) -> None:
        signals.append(signum)
        for worker in workers:
            worker.process.send_signal(signal.SIGKILL if len(signals) > 1 else signal.SIGTERM)

    try:
        with on_stop_signals(pass_on):
            for rank in range(world_size):
                member = Rank(rank, rank, world_size, master_port=port)
                workers.append(_Worker(command, member, logs / f"rank-{rank}.log", lifeline_read))
            with contextlib.closing(_Listener(reporter)) as listener:
                tell = reporter.warning if apart else None
                _wait(workers, listener, ending=lambda: bool(signals), tell_of_failure=tell)
    finally:
        os.close(lifeline_read)
        os.close(lifeline_write)
        for worker in workers:
            worker.end()
    if len(signals) > 1:
        raise Interrupted("stopped at once; what was saved before is safe")
    return workers, bool(signals)


class _Worker:
    """One process and what it has reported."""

    def __init__(self, command: Sequence[str], rank: Rank, log: Path, lifeline: int) -> None:
        self.rank = rank.rank
        self.log = log
        self.result: str | None = None
        self.error: WorkerError | None = None
        self.killed = False
        """By somebody else than its parent."""
        self.reports, theirs = os.pipe()
        environment = {
            **os.environ,
            **rank.environment(),
            "LOCAL_WORLD_SIZE": str(rank.world_size),
            REPORTS_FD: str(theirs),
            LIFELINE_FD: str(lifeline),
        }
        # Without it, every process would start a thread a core: torchrun does the same.
        environment.setdefault("OMP_NUM_THREADS", str(max(1, len(os.sched_getaffinity(0)) // rank.world_size)))
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                command,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=(theirs, lifeline),
                start_new_session=True,
            )
        os.close(theirs)

    @property
    def failed(self) -> bool:
        return self.error is not None or self.process.poll() not in (None, 0)

    def end(self) -> None:
        self.killed = (self.process.poll() or 0) < 0
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        os.close(self.reports)


def _wait(
    workers: Sequence[_Worker],
    listener: "_Listener",
    ending: Callable[[], bool],
    tell_of_failure: Callable[[str], None] | None,
) -> None:
    """Listen until every worker has ended, or one has failed and the others had `GRACE_S` to follow.

    Those that do without one another do not follow: each failure is told of as it comes.
    """
    with selectors.DefaultSelector() as selector:
        for worker in workers:
            os.set_blocking(worker.reports, False)
            selector.register(worker.reports, selectors.EVENT_READ, worker)
        deadline: float | None = None
        reported: set[int] = set()
        while True:
            for key, _ in selector.select(timeout=0.1):
                if not listener.read(key.data):
                    selector.unregister(key.fileobj)
            if all(worker.process.poll() is not None for worker in workers):
                for worker in workers:
                    listener.read(worker)
                return
            if tell_of_failure is not None and not ending():
                for worker in workers:
                    if worker.failed and worker.rank not in reported:
                        reported.add(worker.rank)
                        listener.read(worker)
                        why = worker.error.message if worker.error is not None else end_of(worker.process.returncode)
                        tell_of_failure(f"process {worker.rank}: {why}; the others go on")
                continue
            if deadline is None and any(worker.failed for worker in workers):
                deadline = time.monotonic() + (10 * GRACE_S if ending() else GRACE_S)
            if deadline is not None and time.monotonic() > deadline:
                return


class _Listener:
    """Turns the lines that workers write into calls of a reporter."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._rest: dict[int, bytes] = {}
        self._bars = contextlib.ExitStack()
        self._advance: dict[int, tuple[NotedAdvance, contextlib.ExitStack]] = {}

    def read(self, worker: _Worker) -> bool:
        """Take what the worker has written; False when it will write no more."""
        while True:
            try:
                block = os.read(worker.reports, 1 << 16)
            except BlockingIOError:
                return True
            if not block:
                return False
            *lines, rest = (self._rest.get(worker.rank, b"") + block).split(b"\n")
            self._rest[worker.rank] = rest
            for line in lines:
                self._take(worker, json.loads(line))

    def _take(self, worker: _Worker, report: JsonObject) -> None:
        match report.pop("kind"):
            case "info":
                self._reporter.info(report["message"])
            case "warning":
                self._reporter.warning(report["message"])
            case "begin":
                stack = self._bars.enter_context(contextlib.ExitStack())
                self._advance[report["bar"]] = (stack.enter_context(self._bar(report)), stack)
            case "advance":
                self._advance[report["bar"]][0](report["amount"], report["note"])
            case "end":
                self._advance.pop(report["bar"])[1].close()
            case "result":
                worker.result = report["result"]
            case "error":
                worker.error = WorkerError(**report)

    def _bar(self, report: JsonObject) -> AbstractContextManager[NotedAdvance]:
        if "run_dir" in report:
            return self._reporter.training(report["stage"], report["total"], Path(report["run_dir"]))
        return self._reporter.progress(report["description"], report["total"], report["unit"])

    def close(self) -> None:
        self._bars.close()


def _raise_first_failure(workers: Sequence[_Worker]) -> None:
    reported = [worker.error for worker in workers if worker.error is not None]
    silent = [w for w in workers if w.error is None and w.process.returncode not in (0, None) and w.result is None]
    # A process that was killed tears the others' connections: what they report then is the consequence.
    killed = [worker for worker in silent if worker.killed]
    if reported and not killed:
        first = min(reported, key=lambda error: error.time)
        kind = getattr(errors, first.type, None)
        if isinstance(kind, type) and issubclass(kind, AuroraError):
            # Of one that is made of other things than its message, the kind that it is.
            reported_kind = next(each for each in kind.__mro__ if each.__init__ is AuroraError.__init__)
            raise reported_kind(first.message, hint=first.hint)
        raise WorkerFailed(f"rank {first.rank}: {first.message}\n{first.traceback.rstrip()}")
    for worker in killed or silent:
        ending = end_of(worker.process.returncode)
        raise HostError(
            f"the worker of rank {worker.rank} {ending}; the end of its output:\n{_tail(worker.log)}",
            hint="SIGKILL is often the kernel's, for want of memory. The same command continues.",
        )


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
