"""What a step says while it works. Steps get a `Reporter`; only the command line gives them one that prints."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Protocol

Advance = Callable[[int], None]


class NotedAdvance(Protocol):
    """An `Advance` that can also say in a few words how it goes."""

    def __call__(self, amount: int, note: str = "", /) -> None: ...


def unheard(amount: int, note: str = "", /) -> None:
    """A `NotedAdvance` that nobody listens to."""


class Reporter:
    """Says nothing: what a step called from Python gets. See `cli.output.ConsoleReporter` for the one that prints."""

    streams = False
    """Whether somebody looks on: then a result may be shown by `stream` as it comes, and `lines()` leaves that out."""

    def stream(self, text: str) -> None:
        """A piece of the result."""

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


SILENT = Reporter()
