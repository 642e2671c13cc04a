"""A run drawn in a terminal: right numbers at every width, plain lines elsewhere, and a terminal that stays sane."""

import io
import logging
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console

from aurora_cli.cli import live
from aurora_cli.cli.console import ConsoleReporter
from aurora_cli.cli.live_view import RunView, Size, stage_states
from aurora_cli.cli.pace import Pace
from aurora_cli.cli.terminal_chart import OTHERS, TRAINING, chart
from aurora_cli.runs.lines import CaptionLine, append_lines, write_lines
from tests.distributed import tiny_workspace
from tests.run_files import metrics_line

NOON = datetime(2026, 5, 4, 12, 0)
TERMINAL = {"TERM": "xterm-256color", "CI": "", "NO_COLOR": "", "COLUMNS": "", "LINES": ""}


def plain(lines: list) -> list[str]:
    return [line.plain.rstrip() for line in lines]


DIAGONAL = [(float(step), float(step)) for step in range(31)]
"""0 to 30 over an axis from 0 to 30: in 16 columns and 8 rows of 2 x 4 dots, dot k is as far right as it is high."""


def test_a_diagonal_is_two_cells_a_row() -> None:
    assert plain(chart(DIAGONAL, [], 20, 8, ascii_only=True)) == [
        "30 +              **",
        "   |            **",
        "20 +          **",
        "   |        **",
        "   |      **",
        "10 +    **",
        "   |  **",
        " 0 +**",
        "   +step 0 ------ 30",
    ]


def test_braille_has_two_by_four_dots_a_cell() -> None:
    """Of four dots that rise, two lie in each cell: the lowest left and the next right, then the upper two."""
    lower, upper = "\N{BRAILLE PATTERN DOTS-67}", "\N{BRAILLE PATTERN DOTS-24}"
    lines = plain(chart(DIAGONAL, [], 20, 8, ascii_only=False))
    assert [line.split("┤")[-1].split("│")[-1].strip() for line in lines[:8]] == [lower + upper] * 8


def test_validation_stands_where_it_was_measured() -> None:
    """At step 1 at the upper end of 1 to 2, and at step 3 at the lower."""
    lines = chart([(1, 2.0), (3, 2.0)], [(1, 2.0), (3, 1.0)], 13, 3, ascii_only=True)
    assert plain(lines)[:3] == ["2 +o*********", "  |", "1 +         o"]


def test_losses_far_apart_are_drawn_by_their_logarithm() -> None:
    """10, 1 and 0.1 are equally far apart: above, in the middle and below."""
    lines = plain(chart([(1, 10.0), (2, 1.0), (3, 0.1)], [], 40, 9, ascii_only=True))
    assert [lines[row][:5] for row in (0, 4, 8)] == [" 10 +", "  1 +", "0.1 +"]


@pytest.mark.parametrize(("training", "width", "rows"), [([], 80, 8), ([(1, 1.0)], 12, 8), ([(1, 1.0)], 80, 1)])
def test_where_nothing_can_be_drawn_there_is_no_chart(training: list, width: int, rows: int) -> None:
    assert chart(training, [], width, rows, ascii_only=False) == []


def test_where_both_steps_have_no_room_the_last_one_stands() -> None:
    def floor(last: int, width: int) -> str:
        return chart([(0, 0.5), (last, 1.5)], [], width, 2, ascii_only=True)[-1].plain

    narrow = next(width for width in range(1, 40) if chart([(0, 0.5), (9, 1.5)], [], width, 2, ascii_only=True))
    assert floor(9, narrow).endswith("+step 0 - 9")
    assert floor(10, narrow).endswith("+10")
    assert floor(10, narrow + 1).endswith("+step 0 - 10")
    assert floor(10**9, narrow).endswith("+")


@pytest.mark.slow
@given(
    st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=60),
    st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=5),
    st.integers(1, 200),
    st.integers(0, 30),
    st.booleans(),
)
@example([*[0.0] * 10, 1.000000001e32], [], 21, 2, False)
def test_any_numbers_are_drawn_within_the_room(
    losses: list[float], validation: list[float], width: int, rows: int, ascii_only: bool
) -> None:
    lines = chart([*enumerate(losses)], [*enumerate(validation)], width, rows, ascii_only=ascii_only)
    assert len(lines) in (0, rows + 1)
    assert all(line.cell_len <= max(width, 14) for line in lines)


@given(st.lists(st.tuples(st.integers(0, 100), st.floats(0.0, 2000.0)), max_size=2000))
def test_the_rate_is_steps_over_time_and_never_negative(moves: list[tuple[int, float]]) -> None:
    pace, now, done = Pace(0.0), 0.0, 0
    for amount, seconds in moves:
        now += seconds
        done += amount
        pace.add(amount, now)
    assert pace.done == done
    assert pace.rate is None or pace.rate > 0
    assert (pace.left(done + 5, now) or 0.0) >= 0.0


def test_a_run_that_goes_on_has_the_rate_of_its_own_steps() -> None:
    """70 of 100 were done; two take 50 s: 28 are left at 25 s each."""
    pace = Pace(100.0)
    pace.add(70, 100.1)
    pace.add(1, 125.0)
    pace.add(1, 150.0)
    assert (pace.done, pace.rate, pace.left(100, 150.0)) == (72, 0.04, 700.0)


def run_at_work(tmp_path: Path, steps: int = 40, total: int = 100) -> RunView:
    """A run of stage vision between two others, in its middle."""
    runs = {name: tmp_path / "runs" / name for name in ("projection", "vision", "language")}
    for name in ("projection", "vision"):
        (runs[name] / "samples").mkdir(parents=True)
    append_lines(runs["projection"] / "metrics.jsonl", [metrics_line(step, loss=1.25) for step in (1, 2)])
    (runs["projection"] / "finished.json").write_text("{}")
    lines = [
        metrics_line(step, loss=4.0 - step / 20, validation_loss=3.5 - step / 40 if step % 20 == 0 else None)
        for step in range(1, steps + 1)
    ]
    append_lines(runs["vision"] / "metrics.jsonl", lines)
    captions = [
        CaptionLine(
            sample=n, id=f"image-{n}", frames=(1,), prompt="?", caption="A \x1b[31mred circle.", reference="A cat."
        )
        for n in range(5)
    ]
    write_lines(runs["vision"] / "samples/step-00000040.jsonl", captions)
    pace = Pace(0.0)
    for step in range(steps):
        pace.add(1, 2.0 * (step + 1))
    return RunView("vision", total, runs["vision"], stage_states(runs, "vision"), pace)


@pytest.mark.parametrize("width", [40, 60, 80, 120, 200])
@pytest.mark.parametrize("rows", [5, 12, 23, 50])
def test_the_view_fits_every_window(tmp_path: Path, width: int, rows: int) -> None:
    view = run_at_work(tmp_path)
    view.update()
    lines = view.lines(Size(width, rows), 80.0, NOON)
    assert 1 <= len(lines) <= rows
    page = Console(width=width, record=True, file=io.StringIO(), force_terminal=True)
    for line in lines:
        page.print(line)
    printed = page.export_text().splitlines()
    assert len(printed) == len(lines)  # none was broken in two
    assert all("\x1b" not in line for line in printed)


def test_the_view_says_what_the_files_say(tmp_path: Path) -> None:
    """40 of 100 steps at 2 s: 60 are left in 120 s. A line of metrics: 100 tokens in 0.5 s, 512 MB."""
    view = run_at_work(tmp_path)
    view.update()
    text = "\n".join(plain(view.lines(Size(100, 30), 80.0, NOON)))
    for words in (
        "✓ projection loss 1.2500   ▸ vision   ○ language",
        "40 of 100 steps  40 %",
        "0:02:00 left   ends about 12:02   0:01:20 so far",
        "200 tokens/s   0.5 s/step   98% full   0.5 GB",
        "loss 2.0000, 3.9500 at first   ● validation 2.5000, lowest 2.5000 at 40",
        "step 1 ─",
        "captions after step 40",
        "image-0    A [31mred circle.",
        "reference  A cat.",
    ):
        assert words in text, (words, text)


def test_scores_of_captions_stand_below_the_losses(tmp_path: Path) -> None:
    """The highest CIDEr-D was at step 41, the last scores are those of step 42."""
    view = run_at_work(tmp_path)
    scored = [
        metrics_line(41, cider=0.75, bleu_4=0.5, rouge_l=0.5, repetition=0.0, evaluated_captions=4),
        metrics_line(42, cider=0.25, bleu_4=0.125, rouge_l=0.375, repetition=0.5, evaluated_captions=4),
    ]
    append_lines(view.run_dir / "metrics.jsonl", scored)
    view.update()
    lines = plain(view.lines(Size(100, 30), 80.0, NOON))
    below = next(number for number, line in enumerate(lines) if line.startswith("loss ")) + 1
    assert lines[below] == ("CIDEr-D 0.2500, highest 0.7500 at 41   BLEU-4 0.1250   ROUGE-L 0.3750   repetition 0.5000")


def test_a_long_step_has_a_clock_of_its_own(tmp_path: Path) -> None:
    view = run_at_work(tmp_path)
    assert "in step 41 for 12 s" in "\n".join(plain(view.lines(Size(80, 23), 92.5, NOON)))


def test_a_new_line_and_new_captions_are_read_on(tmp_path: Path) -> None:
    view = run_at_work(tmp_path)
    view.update()
    append_lines(view.run_dir / "metrics.jsonl", [metrics_line(41, loss=0.125)])
    newer = CaptionLine(sample=0, id="image-0", frames=(1,), prompt="?", caption="A cat.", reference="A cat.")
    write_lines(view.run_dir / "samples/step-00000041.jsonl", [newer])
    view.update()
    text = "\n".join(plain(view.lines(Size(80, 23), 82.0, NOON)))
    assert "loss 0.1250" in text
    assert "captions after step 41" in text


def test_before_the_first_step_there_is_a_view_too(tmp_path: Path) -> None:
    view = RunView("vision", 10, tmp_path, [], Pace(0.0))
    view.update()
    assert "waiting for the first step" in "\n".join(plain(view.lines(Size(80, 23), 1.0, NOON)))


def reporter_on(
    file: io.StringIO, environment: dict[str, str], *, live: bool | None, terminal: bool
) -> ConsoleReporter:
    reporter = ConsoleReporter(live=live)
    reporter._console = Console(
        file=file, force_terminal=terminal, width=80, height=24, _environ={**TERMINAL, **environment}
    )
    return reporter


@pytest.mark.parametrize(
    ("environment", "wanted", "terminal", "drawn"),
    [
        ({}, None, True, True),
        ({}, False, True, False),
        ({"NO_COLOR": "1"}, None, True, False),
        ({"CI": "true"}, None, True, False),
        ({"NO_COLOR": "1", "CI": "true"}, True, True, True),
        ({"TERM": "dumb"}, True, True, False),
        ({}, True, False, False),
    ],
)
def test_a_run_is_drawn_where_that_can_be_and_is_wanted(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    wanted: bool | None,
    terminal: bool,
    drawn: bool,
) -> None:
    for name, value in {**TERMINAL, **environment}.items():
        monkeypatch.setenv(name, value)
    file = io.StringIO()
    with reporter_on(file, environment, live=wanted, terminal=terminal).training("vision", 10, tmp_path) as advance:
        advance(0)
        advance(1, "loss 1.0")
    assert ("waiting for the first step" in file.getvalue()) == drawn


@pytest.mark.parametrize("environment", [{"TERM": "dumb"}, {}])
def test_where_nothing_can_be_written_over_progress_is_lines(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    now = [0.0]
    monkeypatch.setattr("aurora_cli.cli.console.time.monotonic", lambda: now[0])
    file = io.StringIO()
    reporter = reporter_on(file, environment, live=None, terminal=bool(environment))
    with reporter.progress("captioning", 6, "media") as advance:
        now[0] += 40
        advance(4)
    assert file.getvalue() == "captioning: 4 of 6 media, 10.0 s/media, 0:00:20 left\n"


def test_what_is_logged_stands_above_the_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of the reporter, one that is written to stderr as Python writes warnings, and one of a logger that held
    stderr before the view began."""
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, height=24, _environ=TERMINAL)
    monkeypatch.setattr(sys, "stderr", file)
    handler = logging.StreamHandler()
    logger = logging.getLogger("of another program")
    logger.addHandler(handler)
    try:
        with live.live_run(console, "vision", 10, tmp_path, {}):
            console.print("a line of ours")
            print("a warning of Python", file=sys.stderr)
            logger.warning("a line of a logger")
        assert handler.stream is file
    finally:
        logger.removeHandler(handler)
    shown = file.getvalue()
    for words in ("a line of ours", "a warning of Python", "a line of a logger"):
        after = shown[shown.index(words) :]
        assert "waiting for the first step" in after  # the view is drawn anew below
        before = shown[: shown.index(words)]
        assert before.rstrip(" ").endswith("\x1b[2K") or "\n" in before[before.rindex("\x1b[2K") :], words


def test_what_goes_wrong_in_drawing_does_not_end_the_run(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("[]\n")
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, height=24, _environ=TERMINAL)
    with live.live_run(console, "vision", 10, tmp_path, {}) as advance:
        advance(1)
    assert "the run is no longer drawn" in file.getvalue()


def read_until(terminal: int, words: bytes, seconds: float) -> bytes:
    """What comes out of a terminal until it says something, or until its other end is closed."""
    read, end = b"", time.monotonic() + seconds
    while words not in read and time.monotonic() < end:
        if select.select([terminal], [], [], 0.2)[0]:
            try:
                read += os.read(terminal, 65536)
            except OSError:  # Linux' way to say that nobody has it open any more
                break
    return read


@pytest.mark.slow
def test_ctrl_c_in_a_real_terminal_saves_and_leaves_it_sane(tmp_path: Path) -> None:
    """A stage of the tiny preset's kind in a terminal of 80 x 24, stopped by Ctrl-C while it is drawn."""
    tiny_workspace.make(tmp_path, "projection")
    chosen = tiny_workspace.settings(tmp_path, "projection", max_steps=5000, trackers=[], samples_every=2)
    config = tmp_path / "config.yaml"
    content = chosen.model_dump(mode="json", exclude_unset=True)
    config.write_text(yaml.safe_dump(content))
    ours, theirs = pty.openpty()
    subprocess.run(["stty", "rows", "24", "cols", "80"], stdin=theirs, check=True)
    before = subprocess.run(["stty", "-g"], stdin=theirs, capture_output=True, check=True).stdout
    command = [sys.executable, "-m", "aurora_cli", "train", "--config", str(config), "--workspace", str(tmp_path)]
    environment = {**os.environ, **TERMINAL}
    run = subprocess.Popen(
        command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment, start_new_session=True, cwd=tmp_path
    )
    try:
        shown = read_until(ours, b"captions after step", 60)
        assert b"captions after step" in shown, shown[-2000:].decode(errors="replace")
        run.send_signal(signal.SIGINT)
        while run.poll() is None:
            shown += read_until(ours, b"never said", 0.3)
        shown += read_until(ours, b"never said", 0.3)
        after = subprocess.run(["stty", "-g"], stdin=theirs, capture_output=True, check=True).stdout
    finally:
        run.kill()
        run.wait()
        os.close(theirs)
        os.close(ours)
    text = shown.decode()
    assert run.returncode == 130, text[-2000:]
    assert after == before
    assert text.rfind("\x1b[?25h") > text.rfind("\x1b[?25l")  # the cursor is seen
    assert "\x1b[?1049h" not in text  # no other screen was opened
    assert re.search(r"it is saved", text)
    assert text.endswith("\r\n")


def test_a_mixture_is_drawn_as_a_line_for_each_kept_ratio(tmp_path: Path) -> None:
    """0.1 stands at 4, 1 at 2: two level lines, and their losses below the facts."""
    view = run_at_work(tmp_path, steps=0)
    by_ratio = {"0.1": 4.5, "1": 2.5}
    lines = [
        metrics_line(n, loss=4.0 if n % 2 else 2.0, kept_ratio=0.1 if n % 2 else 1.0,
                     validation_loss_by_ratio=by_ratio if n == 20 else None) for n in range(1, 21)
    ]  # fmt: skip
    append_lines(view.run_dir / "metrics.jsonl", lines)
    view.update()
    drawn = view.lines(Size(80, 24), 1.0, NOON)
    (legend,) = [line for line in drawn if "at kept ratio" in line.plain]
    assert legend.plain.split() == ["at", "kept", "ratio", "0.1:", "4.0000", "(4.5000)", "1:", "2.0000", "(2.5000)"]
    styles = {str(span.style) for line in drawn if "│" in line.plain or "┤" in line.plain for span in line.spans}
    assert {TRAINING, OTHERS[0]} <= styles
