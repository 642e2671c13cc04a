"""Ends a process whose step does not end, and says where it stands: a hang among ranks is otherwise silent for ever."""

import contextlib
import faulthandler
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from aurora_cli.errors import HostError


class Watchdog:
    """Told of every step's beginning."""

    def __init__(self, limit_s: float, rank: int, on_timeout: Callable[[HostError], None]) -> None:
        self._limit_s = limit_s
        self._rank = rank
        self._on_timeout = on_timeout
        self._closed = threading.Event()
        self._began = time.monotonic()
        self._where = "before the first step"

    def step(self, step: int, sample_ids: Sequence[int] = ()) -> None:
        self._where = (
            f"in step {step}, samples {list(sample_ids)}" if sample_ids else f"in step {step}, waiting for its data"
        )
        self._began = time.monotonic()

    def run(self) -> None:
        while not self._closed.wait(min(1.0, self._limit_s / 4)):
            if time.monotonic() - self._began > self._limit_s:
                sys.stderr.write(f"rank {self._rank}: {self._where}, for {self._limit_s:g} s; every thread:\n")
                sys.stderr.flush()
                faulthandler.dump_traceback(all_threads=True)
                self._on_timeout(
                    HostError(
                        f"rank {self._rank} is {self._where}, for more than train.watchdog_s = {self._limit_s:g} s",
                        hint="Every rank's stack is in its output. The same command goes on from the last checkpoint.",
                    )
                )
                return

    def close(self) -> None:
        self._closed.set()


@contextlib.contextmanager
def watching(limit_s: float, rank: int, on_timeout: Callable[[HostError], None]) -> Iterator[Watchdog]:
    """Watch the block's steps; after `limit_s` seconds in one, print all stacks and call `on_timeout`, in a thread."""
    watchdog = Watchdog(limit_s, rank, on_timeout)
    thread = threading.Thread(target=watchdog.run, name="watchdog", daemon=True)
    thread.start()
    try:
        yield watchdog
    finally:
        watchdog.close()
        thread.join()
