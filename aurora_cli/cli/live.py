"""A run at work, drawn in the terminal by rich's Live and redrawn once a second by a thread of its own.

The thread draws, and reads what the run has written; a step only notes that it is done. Whatever goes wrong in drawing
ends the drawing, never the run. The cursor stays as it is, so that a process that is killed leaves a sane terminal.
"""

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TextIO

from rich.console import Console, Group
from rich.live import Live

from aurora_cli.cli.live_view import RunView, Size, stage_states
from aurora_cli.cli.pace import Pace
from aurora_cli.console import NotedAdvance

REDRAWN_S = 1.0


@contextlib.contextmanager
def live_run(
    console: Console, stage: str, total: int, run_dir: Path, stages: Mapping[str, Path]
) -> Iterator[NotedAdvance]:
    """Draw a run until the block ends; its last state stays on the screen. `stages` are those of `--stage all`."""
    pace = Pace(time.monotonic())
    ascii_only = console.options.ascii_only
    view = RunView(stage, total, run_dir, stage_states(stages, stage), pace, ascii_only)

    def advance(amount: int, note: str = "", /) -> None:
        pace.add(amount, time.monotonic())

    with Screen(console, view):
        yield advance


class Screen:
    """The lifetime of a view on a terminal."""

    def __init__(self, console: Console, view: RunView) -> None:
        self._console = console
        self._view = view
        self._live = Live(console=console, auto_refresh=False, vertical_overflow="crop")
        self._width = console.width
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._draw_on, name="live view", daemon=True)
        self._handlers = contextlib.ExitStack()

    def __enter__(self) -> None:
        before = sys.stderr
        self._start()
        self._handlers.enter_context(logs_above(before))
        self._draw()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        with self._handlers:
            try:
                self._ended.set()
                self._thread.join()
                if self._live.is_started:
                    self._draw()
            finally:  # also of a second Ctrl-C
                self._live.stop()

    def _start(self) -> None:
        self._live.start()
        self._console.show_cursor(True)

    def _draw_on(self) -> None:
        while not self._ended.wait(REDRAWN_S) and self._live.is_started:
            self._draw()

    def _draw(self) -> None:
        """Draw once; where that fails, say so and draw no more."""
        try:
            if self._console.width < self._width:
                self._scroll_away()
            self._width = self._console.width
            self._view.update()
            size = Size(self._console.width, self._console.height - 1)
            lines = self._view.lines(size, time.monotonic(), datetime.now())
            self._live.update(Group(*lines), refresh=True)
        except Exception as error:  # the run is worth more than its view
            self._live.stop()
            self._console.print(f"warning: the run is no longer drawn: {error}", style="yellow", markup=False)

    def _scroll_away(self) -> None:
        """Move all that stands on the screen into what one can scroll back to: where a terminal became narrower, nobody
        knows how many lines those of the view are now."""
        self._live.stop()
        rows = self._console.height
        self._console.file.write(f"\x1b[{rows};1H" + "\n" * rows + "\x1b[H")
        self._live = Live(console=self._console, auto_refresh=False, vertical_overflow="crop")
        self._start()


@contextlib.contextmanager
def logs_above(stderr: TextIO) -> Iterator[None]:
    """Let loggers that hold the stream that was sys.stderr write to what it is now, which prints above the view."""
    roots = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    handlers = {handler for one in roots if isinstance(one, logging.Logger) for handler in one.handlers}
    moved = [
        one for one in handlers if isinstance(one, logging.StreamHandler) and one.stream in (stderr, sys.__stderr__)
    ]
    streams = [one.stream for one in moved]
    for handler in moved:
        handler.setStream(sys.stderr)
    try:
        yield
    finally:
        for handler, stream in zip(moved, streams, strict=True):
            handler.setStream(stream)
