"""What the command line writes: results on stdout, everything else on stderr, bars only on a terminal."""

import contextlib
import dataclasses
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from aurora_cli.cli.pace import HORIZON_S, RESUMED_S
from aurora_cli.console import NotedAdvance, Reporter, WritePiece
from aurora_cli.pipeline.result import Result

LOG_EVERY_S = 30.0
BY_CLOCK_S = 60.0
"""From so long before its end on, the end is shown by the clock as well."""


class ConsoleReporter(Reporter):
    """Logs on stderr; progress as a bar on a terminal, as a line every half minute elsewhere."""

    def __init__(self, *, streams: bool = False, live: bool | None = None) -> None:
        """`streams`: lines of the result are shown as they come, if stdout is a terminal.

        `live`: runs are drawn, if stderr is a terminal; None: if nothing in the environment asks for plain output.
        """
        from rich.console import Console

        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._streams = streams and sys.stdout.isatty()
        self._live = live
        self._stages: Mapping[str, Path] = {}
        self._open_bars: list[Any] = []
        self.streamed: Counter[str] = Counter()
        """Lines of the result that stand on stdout already."""

    def stream_line(self, line: str) -> None:
        if self._streams:
            print(line, flush=True)
            self.streamed[line] += 1

    @contextlib.contextmanager
    def stream_pieces(self, start: str) -> Iterator[WritePiece | None]:
        if not self._streams:
            yield None
            return
        pieces = [start]

        def write(piece: str) -> None:
            print(piece, end="", flush=True)
            pieces.append(piece)

        with self._bars_hidden():  # they redraw the line that is being written
            print(start, end="", flush=True)
            try:
                yield write
            finally:
                print(flush=True)
        self.streamed["".join(pieces)] += 1

    def info(self, message: str) -> None:
        self._console.print(message, markup=False)

    def warning(self, message: str) -> None:
        self._console.print(f"warning: {message}", style="yellow", markup=False)

    @contextlib.contextmanager
    def progress(self, description: str, total: int | None, unit: str = "items") -> Iterator[NotedAdvance]:
        shown = self._bar if self._redraws else self._lines
        with shown(description, total, unit) as advance:
            yield advance

    @property
    def _redraws(self) -> bool:
        """What is on the screen can be written over."""
        return self._console.is_terminal and not self._console.is_dumb_terminal

    @contextlib.contextmanager
    def training(self, stage: str, total: int, run_dir: Path) -> Iterator[NotedAdvance]:
        wanted = is_undisturbed(os.environ) if self._live is None else self._live
        if not (wanted and self._redraws):
            with super().training(stage, total, run_dir) as advance:
                yield advance
            return
        from aurora_cli.cli.live import live_run

        with live_run(self._console, stage, total, run_dir, self._stages) as advance:
            yield advance

    @contextlib.contextmanager
    def stages(self, folders: Mapping[str, Path]) -> Iterator[None]:
        self._stages = folders
        try:
            yield
        finally:
            self._stages = {}

    @contextlib.contextmanager
    def _bar(self, description: str, total: int | None, unit: str) -> Iterator[NotedAdvance]:
        from rich import progress
        from rich.table import Column

        in_bytes = unit == "bytes"
        amount = progress.DownloadColumn() if in_bytes else progress.MofNCompleteColumn()
        with (
            _noted_progress()(
                progress.TextColumn("{task.description}", markup=False),
                progress.BarColumn(bar_width=None, table_column=Column(max_width=40)),
                amount,
                progress.TransferSpeedColumn() if in_bytes else _rate_column(unit),
                progress.TimeRemainingColumn(),
                _end_column(),
                console=self._console,
                transient=True,
                speed_estimate_period=30 if in_bytes else HORIZON_S,
            ) as bars,
            self._remembered(bars),
        ):
            task = bars.add_task(description, total=total, note="")

            def advance(done: int, note: str = "", /) -> None:
                bars.update(task, advance=done, **({"note": note} if note else {}))

            yield advance

    @contextlib.contextmanager
    def _remembered(self, bars: Any) -> Iterator[None]:
        self._open_bars.append(bars)
        try:
            yield
        finally:
            self._open_bars.remove(bars)

    @contextlib.contextmanager
    def _bars_hidden(self) -> Iterator[None]:
        for bars in self._open_bars:
            bars.stop()
        try:
            yield
        finally:
            for bars in self._open_bars:
                bars.start()

    @contextlib.contextmanager
    def _lines(self, description: str, total: int | None, unit: str) -> Iterator[NotedAdvance]:
        began = reported = time.monotonic()
        done = earlier = 0
        first = True

        def advance(amount: int, note: str = "", /) -> None:
            nonlocal done, earlier, first, reported
            done += amount
            now = time.monotonic()
            if first and now - began < RESUMED_S:
                earlier = amount
            first = False
            if now - reported >= LOG_EVERY_S:
                reported = now
                rate = (done - earlier) / (now - began)
                left = f", {left_of((total - done) / rate, datetime.now())}" if total and rate > 0 else ""
                how = f"; {note}" if note else ""
                of = f" of {total:,}" if total else ""
                self.info(f"{description}: {done:,}{of} {unit}, {rate_of(rate, unit)}{left}{how}")

        yield advance


class QuietReporter(Reporter):
    """`--quiet`: only warnings."""

    def __init__(self) -> None:
        self.streamed: Counter[str] = Counter()
        """Nothing: the result is shown at its end."""

    def warning(self, message: str) -> None:
        print(f"warning: {message}", file=sys.stderr)


def is_undisturbed(environment: Mapping[str, str]) -> bool:
    """Whether nothing in the environment asks for plain output (no-color.org; CI is set by all its services).

    >>> is_undisturbed({"TERM": "xterm"}), is_undisturbed({"NO_COLOR": "1"}), is_undisturbed({"CI": "true"})
    (True, False, False)
    """
    return not environment.get("NO_COLOR") and environment.get("CI", "").lower() in ("", "0", "false")


def rate_of(speed: float | None, unit: str) -> str:
    """How fast it goes; the slow by the time that one takes.

    >>> rate_of(12.34, "steps"), rate_of(0.04, "steps"), rate_of(None, "media")
    ('12.3 steps/s', '25.0 s/step', '- media/s')
    """
    if not speed:
        return f"- {unit}/s"
    return f"{speed:,.1f} {unit}/s" if speed >= 1 else f"{1 / speed:,.1f} s/{unit.removesuffix('s')}"


def left_of(seconds: float, now: datetime) -> str:
    """How long it takes yet, and from a minute on when it ends.

    >>> left_of(42, datetime(2026, 5, 4, 17, 30)), left_of(4200, datetime(2026, 5, 4, 17, 30))
    ('0:00:42 left', '1:10:00 left, ends about 18:40')
    """
    left = f"{timedelta(seconds=round(max(seconds, 0)))} left"
    return ", ".join(filter(None, (left, ends_about(seconds, now))))


def ends_about(seconds: float, now: datetime) -> str:
    """The end by the clock; the day too where it is another one. Less than a minute before it: empty.

    >>> [ends_about(hours * 3600, datetime(2026, 5, 4, 17, 30)) for hours in (1, 7, 200)]
    ['ends about 18:30', 'ends about Tue 00:30', 'ends about 13 May 01:30']
    """
    if seconds < BY_CLOCK_S:
        return ""
    end = now + timedelta(seconds=seconds)
    days = (end.date() - now.date()).days
    return end.strftime("ends about " + ("%H:%M" if days == 0 else "%a %H:%M" if days < 7 else "%d %b %H:%M"))


def _end_column() -> Any:
    from rich.progress import ProgressColumn, Task
    from rich.table import Column
    from rich.text import Text

    class End(ProgressColumn):
        max_refresh = 0.5

        def render(self, task: Task) -> Text:
            return Text(ends_about(task.time_remaining or 0.0, datetime.now()), "dim")

    return End(Column(no_wrap=True))


def _rate_column(unit: str) -> Any:
    from rich.progress import ProgressColumn, Task
    from rich.table import Column
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(rate_of(task.speed, unit))

    return Rate(Column(no_wrap=True))


def _noted_progress() -> Any:
    """rich's progress with a task's note on a line of its own below the bar."""
    from rich.progress import Progress
    from rich.text import Text

    class NotedProgress(Progress):
        def get_renderables(self) -> Iterator[Any]:
            yield self.make_tasks_table(self.tasks)
            for task in self.tasks:
                if note := task.fields.get("note"):
                    yield Text(note, style="dim", overflow="ellipsis", no_wrap=True)

    return NotedProgress


def emit(result: Result, as_json: bool, streamed: Counter[str]) -> None:
    """The one place that writes a result; lines that were `streamed` are not written again."""
    if as_json:
        print(json.dumps(dataclasses.asdict(result), ensure_ascii=False, default=str))
        return
    shown = streamed.copy()
    lines: list[str] = []
    for line in result.lines():
        if shown[line]:
            shown[line] -= 1
        else:
            lines.append(line)
    if lines:
        print("\n".join(lines))
