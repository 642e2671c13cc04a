"""What stands on stdout, and that nothing stands there twice."""

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
