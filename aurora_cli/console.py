"""What a step reports while it works. Steps get a `Reporter`; only the command line gives them one that prints."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

Advance = Callable[[int], None]

WritePiece = Callable[[str], None]
"""Shows a piece of a line."""


class NotedAdvance(Protocol):
    """An `Advance` that also takes a few words on how it goes."""

    def __call__(self, amount: int, note: str = "", /) -> None: ...


def unheard(amount: int, note: str = "", /) -> None:
    """A `NotedAdvance` that nobody listens to."""


class Reporter:
    """Reports nothing: what a step called from Python gets. `cli.console.ConsoleReporter` is the one that prints.

    A step whose results are worth seeing before its end streams them: lines that its result's `lines()` has too. The
    command line shows them at once on a terminal, and does not print them again.
    """

    def stream_line(self, line: str) -> None:
        """A line of the result, whole."""

    @contextlib.contextmanager
    def stream_pieces(self, start: str) -> Iterator[WritePiece | None]:
        """A line of the result that comes piece by piece behind `start`; None where nobody sees the pieces."""
        yield None

    def info(self, message: str) -> None:
        """A line of log: what is being done, what was decided."""

    def warning(self, message: str) -> None:
        """A line that the user should read."""

    @contextlib.contextmanager
    def progress(self, description: str, total: int | None, unit: str = "items") -> Iterator[NotedAdvance]:
        """A bar with rate and time left; call the yielded function with the amount done since the last call.

        `unit="bytes"` is shown as kB, MB, GB; `total=None` when it is not known.
        """
        yield unheard

    @contextlib.contextmanager
    def training(self, stage: str, total: int, run_dir: Path) -> Iterator[NotedAdvance]:
        """`progress` of a run's steps; the files that it writes into `run_dir` say more of them."""
        with self.progress(f"train {stage}", total, "steps") as advance:
            yield advance

    @contextlib.contextmanager
    def stages(self, folders: Mapping[str, Path]) -> Iterator[None]:
        """The runs within are of these stages, in their order: name -> folder."""
        yield


SILENT = Reporter()
