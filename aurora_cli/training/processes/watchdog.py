"""Ends a process whose step does not end, and says where it stands: a hang among ranks is otherwise silent for ever."""

import faulthandler
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

from aurora_cli.errors import HostError
from aurora_cli.runs.lines import MetricsLine
from aurora_cli.training.callbacks.callback import Callback

if TYPE_CHECKING:
    from aurora_cli.training.engine.engine import Engine


class Watchdog(Callback):
    """Watches, in a thread, the block that it is entered for; each call of the loop begins the time limit anew.

    It is the first callback, so that the others have the time of what they are called for.
    """

    def __init__(
        self,
        limit_s: float,
        rank: int,
        on_timeout: Callable[[HostError], None],
        lost: Callable[[], str] = lambda: "",
    ) -> None:
        """After `limit_s` seconds without a call all stacks are printed, and `on_timeout` is called in the thread.

        `lost` says which other processes are gone; an empty text: none.
        """
        self._limit_s = limit_s
        self._rank = rank
        self._on_timeout = on_timeout
        self._lost = lost
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._note("before the first step")

    def on_step_begin(self, step: int) -> None:
        self._note(f"in step {step}, waiting for its data")

    def on_data(self, step: int, samples: Sequence[int]) -> None:
        self._note(f"in step {step}, samples {list(samples)}")

    def on_validation_batch(self, step: int) -> None:
        self._note(f"after step {step}, with the validation samples")

    def measure(self, engine: "Engine", line: MetricsLine) -> MetricsLine:
        self._note(f"after step {line.step}, measuring")
        return line

    def on_step_end(self, engine: "Engine", line: MetricsLine) -> None:
        self._note(f"after step {line.step}, in its callbacks")

    def on_checkpoint_begin(self, engine: "Engine", step: int) -> None:
        self._note(f"after step {step}, saving")

    def on_checkpoint(self, engine: "Engine", checkpoint: Path) -> None:
        self._note(f"after {checkpoint.name} was saved")

    def __enter__(self) -> Self:
        self._note("before the first step")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closed.set()
        self._thread.join()

    def _note(self, where: str) -> None:
        self._where = where
        self._began = time.monotonic()

    def _watch(self) -> None:
        while not self._closed.wait(min(1.0, self._limit_s / 4)):
            if time.monotonic() - self._began > self._limit_s:
                self._report()
                return

    def _report(self) -> None:
        sys.stderr.write(f"rank {self._rank}: {self._where}, for {self._limit_s:g} s; every thread:\n")
        sys.stderr.flush()
        faulthandler.dump_traceback(all_threads=True)
        lost = self._lost()
        self._on_timeout(
            HostError(
                f"rank {self._rank} is {self._where}, for more than train.watchdog_s = {self._limit_s:g} s"
                f"{': ' * bool(lost)}{lost}",
                hint="Every rank's stack is in its output. The same command goes on from the last checkpoint.",
            )
        )
