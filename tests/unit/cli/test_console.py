"""What stands on stdout, and that nothing stands there twice."""

import io
import re
from collections import Counter
from dataclasses import dataclass

import pytest

from aurora_cli.cli.console import ConsoleReporter, QuietReporter, emit
from aurora_cli.pipeline.result import Result


@dataclass(frozen=True)
class Lines(Result):
    shown: tuple[str, ...]

    def lines(self) -> list[str]:
        return list(self.shown)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> ConsoleReporter:
    """A reporter whose stdout is a terminal."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    return ConsoleReporter(streams=True)


def test_a_streamed_line_is_not_printed_again_and_the_others_are(
    terminal: ConsoleReporter, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal.stream_line("a: one")
    with terminal.progress("captioning", 3), terminal.stream_pieces("b: ") as write:
        assert write is not None
        write("tw")
        write("o")
    assert capsys.readouterr().out == "a: one\nb: two\n"
    emit(Lines(("a: one", "b: two", "c: three", "a: one")), False, terminal.streamed)
    assert capsys.readouterr().out == "c: three\na: one\n"
    emit(Lines(("a: one",)), False, terminal.streamed)
    assert capsys.readouterr().out == ""


def test_a_line_that_broke_off_is_ended_and_not_taken_for_shown(
    terminal: ConsoleReporter, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(KeyboardInterrupt), terminal.stream_pieces("a: ") as write:
        assert write is not None
        write("half")
        raise KeyboardInterrupt
    assert capsys.readouterr().out == "a: half\n"
    assert not terminal.streamed


def test_where_stdout_is_no_terminal_nothing_is_streamed(capsys: pytest.CaptureFixture[str]) -> None:
    for reporter in (ConsoleReporter(streams=True), QuietReporter()):
        reporter.stream_line("a: one")
        with reporter.stream_pieces("b: ") as write:
            assert write is None
        assert capsys.readouterr().out == ""
        assert reporter.streamed == Counter()


def test_json_is_whole_whatever_was_streamed(capsys: pytest.CaptureFixture[str]) -> None:
    emit(Lines(("a",)), True, Counter(["a"]))
    assert capsys.readouterr().out == '{"shown": ["a"]}\n'


class Clock:
    """`time.monotonic` of a test: it stands still until it is set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("aurora_cli.cli.console.time.monotonic", clock)
    return clock


def test_steps_of_an_earlier_run_are_not_counted_in_the_rate(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """70 of 100 steps are done; the next two take 50 s: 25 s each, and 28 of them are 700 s."""
    with ConsoleReporter().progress("train vision", 100, "steps") as advance:
        advance(70)
        for _ in range(2):
            clock.now += 25
            advance(1)
    line = capsys.readouterr().err
    assert line.startswith("train vision: 72 of 100 steps, 25.0 s/step, 0:11:40 left, ends about ")


def test_what_comes_first_after_a_while_is_counted(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with ConsoleReporter().progress("captioning", 6, "media") as advance:
        clock.now += 40
        advance(4)
    assert capsys.readouterr().err == "captioning: 4 of 6 media, 10.0 s/media, 0:00:20 left\n"


def test_a_bar_of_slow_steps_fits_80_columns_and_says_when_it_ends() -> None:
    from rich.console import Console

    reporter, now = ConsoleReporter(), [0.0]
    reporter._console = Console(width=80, force_terminal=True, get_time=lambda: now[0], file=io.StringIO())
    with reporter.progress("train projection", 1200, "steps") as advance:
        advance(1000)
        for _ in range(3):
            now[0] += 40
            advance(1)
        (bars,) = reporter._open_bars
        page = Console(width=80, record=True, file=io.StringIO())
        page.print(bars.make_tasks_table(bars.tasks))
    (line,) = page.export_text().splitlines()
    assert len(line) <= 80
    assert re.search(r"train projection ━+╸? +1003/1200 40\.0 s/step 2:11:20 ends about (\w{3} )?\d\d:\d\d", line), line
