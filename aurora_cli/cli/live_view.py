"""What a run at work shows in a terminal, as lines of a width: all of it from the files that the run writes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple

from rich.text import Text

from aurora_cli.cli.console import ends_about
from aurora_cli.cli.pace import Pace
from aurora_cli.cli.terminal_chart import OTHERS, PLAIN, TRAINING, VALIDATION, chart
from aurora_cli.reports.metrics import RunMetrics
from aurora_cli.reports.samples import NewestCaptions, newest_captions
from aurora_cli.runs.layout import FINISHED_FILE, METRICS_FILE, SAMPLES
from aurora_cli.runs.lines import CAPTION_SCORES, MetricsLine, last_line

MOST_COLUMNS, MOST_ROWS = 140, 30
CHART_ROWS = 4
"""At least; the chart goes before it has fewer, and captions before that."""

CAPTIONS = 3
REFERENCE = "reference"

SILENT_S = 3.0
"""A step that takes longer has its own clock."""


class Size(NamedTuple):
    """Room for the view."""

    width: int
    rows: int


class StageState(NamedTuple):
    """A stage of `--stage all` beside the one at work."""

    name: str
    state: Literal["done", "running", "to come"]
    about: str = ""


@dataclass
class RunView:
    """A run at work. `update` reads on in its files, `advance` hears of steps, `lines` draws."""

    stage: str
    total: int
    run_dir: Path
    stages: Sequence[StageState]
    pace: Pace
    ascii_only: bool = False

    def __post_init__(self) -> None:
        self._metrics = RunMetrics(self.run_dir / METRICS_FILE)
        self._captions: NewestCaptions | None = None

    def update(self) -> None:
        """Read what has been written since.

        Raises:
            DataError: a file holds something else than a run writes.
        """
        self._metrics.update()
        step = -1 if self._captions is None else self._captions.step
        self._captions = newest_captions(self.run_dir / SAMPLES, than=step) or self._captions

    def lines(self, size: Size, now: float, clock: datetime) -> list[Text]:
        """The view; `now` is a moment of the pace's clock, `clock` the same by the clock on the wall."""
        width = min(size.width, MOST_COLUMNS)
        rows = min(size.rows, MOST_ROWS)
        head = [*self._stage_lines(width), self._bar(width), *flowed(self._times(now, clock), width)]
        head += flowed(self._facts(), width, "dim")
        below = self._legend(width)
        left = rows - len(head) - len(below) - 1  # 1: the axis below the chart
        captions = self._caption_lines(width, most=left - CHART_ROWS)
        curves = self._metrics.curves
        training, *others = [*self._metrics.loss_by_ratio.values()] or [curves["loss"].points()]
        drawn = chart(
            training,
            curves["validation_loss"].points(),
            width,
            left - len(captions) if left - len(captions) >= CHART_ROWS else 0,
            ascii_only=self.ascii_only,
            others=others,
        )
        lines = [*head, *below, *drawn, *captions][: max(rows, 1)]
        for line in lines:
            line.truncate(width, overflow="ellipsis" if not self.ascii_only else "crop")
        return lines

    def _stage_lines(self, width: int) -> list[Text]:
        if not self.stages:
            return []
        signs = ("x", ">", " ") if self.ascii_only else ("✓", "▸", "○")
        sign: dict[str, str] = dict(zip(("done", "running", "to come"), signs, strict=True))
        style: dict[str, str] = {"done": "green", "running": "bold", "to come": "dim"}
        for with_about in (True, False):
            line = Text("   ", no_wrap=True).join(
                Text(
                    f"{sign[one.state]} {one.name}" + f" {one.about}" * (with_about and bool(one.about)),
                    style[one.state],
                )
                for one in self.stages
            )
            if line.cell_len <= width:
                break
        return [line]

    def _bar(self, width: int) -> Text:
        done = min(self.pace.done, self.total)
        share = done / max(1, self.total)
        numbers = f"  {done:,} of {self.total:,} steps  {math.floor(share * 100)} %"
        room = width - len(self.stage) - 1 - len(numbers)
        line = Text(f"{self.stage} ", "bold", no_wrap=True)
        if room >= CHART_ROWS:
            full, rest = ("=", ".") if self.ascii_only else ("━", "─")
            filled = math.floor(share * room)
            line.append(full * filled, TRAINING).append(rest * (room - filled), "dim")
        return line.append(numbers, "not bold")

    def _times(self, now: float, clock: datetime) -> list[str]:
        pace = self.pace
        times = [f"{timedelta(seconds=math.floor(pace.lasted(now)))} so far"]
        left = pace.left(self.total, now)
        if left is not None and pace.done < self.total:
            ends = ends_about(left, clock)
            times = [f"{timedelta(seconds=round(left))} left", *([ends] if ends else []), *times]
        if pace.done < self.total and (waited := pace.waited(now)) >= SILENT_S:
            times.append(f"in step {pace.done + 1:,} for {math.floor(waited):,} s")
        return times

    def _facts(self) -> list[str]:
        """Means of the last steps."""
        metrics = self._metrics
        line, recent = metrics.last, metrics.recent
        if line is None:
            return ["waiting for the first step"]
        seconds = sum(one.step_s for one in recent)
        positions = sum(one.tokens / one.fill for one in recent if one.fill)
        tokens = sum(one.tokens for one in recent)
        norm = "" if line.grad_norm is None else f"gradient {line.grad_norm:.3g}"
        facts = [
            f"{tokens / max(seconds, 1e-9):,.0f} tokens/s",
            f"{seconds / len(recent):,.3g} s/step",
            f"{tokens / max(positions, 1e-9):.0%} full",
            f"{metrics.max_mem_mb / 1024:,.1f} GB",
            f"epoch {line.epoch:.2f}",
            f"lr {line.lr:.3g}",
            norm,
        ]
        return [fact for fact in facts if fact]

    def _legend(self, width: int) -> list[Text]:
        metrics = self._metrics
        if metrics.first is None or metrics.last is None:
            return []
        line = Text(f"loss {metrics.last.loss:.4f}", TRAINING, no_wrap=True)
        line.append(f", {metrics.first.loss:.4f} at first", "dim")
        if metrics.validation_last is not None or metrics.validation_at_start is not None:
            last = metrics.validation_at_start if metrics.validation_last is None else metrics.validation_last
            point = PLAIN.point if self.ascii_only else "●"
            line.append(f"   {point} validation {last:.4f}", VALIDATION)
        if metrics.validation_lowest is not None:
            line.append(f", lowest {metrics.validation_lowest:.4f} at {metrics.validation_lowest_step:,}", "dim")
        return [line, *self._scores(), *self._ratio_lines(width)]

    def _scores(self) -> list[Text]:
        """Of captions of validation samples, where they are evaluated."""
        metrics = self._metrics
        evaluated = metrics.evaluated_last
        if evaluated is None:
            return []
        line = Text(f"{CAPTION_SCORES['cider']} {evaluated.cider:.4f}", VALIDATION, no_wrap=True)
        line.append(f", highest {metrics.cider_highest:.4f} at {metrics.cider_highest_step:,}", "dim")
        rest = [f"   {name} {getattr(evaluated, key):.4f}" for key, name in CAPTION_SCORES.items() if key != "cider"]
        return [line.append("".join(rest), "dim")]

    def _ratio_lines(self, width: int) -> list[Text]:
        """Of a mixture of kept ratios, the last loss at each, in the style of its curve; and the validation loss."""
        metrics = self._metrics
        if not metrics.loss_by_ratio:
            return []
        line = Text("at kept ratio", "dim", no_wrap=True)
        for number, (ratio, points) in enumerate(metrics.loss_by_ratio.items()):
            style = OTHERS[(number - 1) % len(OTHERS)] if number else TRAINING
            line.append(f"   {ratio}: {points[-1][1]:.4f}", f"not dim {style}")
            if measured := metrics.validation_by_ratio.get(ratio):
                line.append(f" ({measured[-1][1]:.4f})", f"not dim {VALIDATION}")
        line.truncate(width)
        return [line]

    def _caption_lines(self, width: int, most: int) -> list[Text]:
        """The newest captions, each above its reference, in at most so many lines."""
        if self._captions is None or most < 3:
            return []
        step, samples = self._captions
        lines = [Text(f"captions after step {step:,}", "bold", no_wrap=True)]
        shown = samples[: min(CAPTIONS, (most - 1) // 2)]
        names = [_end_of(one_line(sample.id), width // 4) for sample in shown]
        widest = max(map(len, (*names, REFERENCE)))
        for name, sample in zip(names, shown, strict=True):
            caption = one_line(sample.caption) or "(no words)"
            lines.append(Text(f"  {name:<{widest}}  ", "dim", no_wrap=True).append(caption, "not dim"))
            lines.append(Text(f"  {REFERENCE:<{widest}}  {one_line(sample.reference)}", "dim", no_wrap=True))
        return lines


def _end_of(name: str, length: int) -> str:
    return name if len(name) <= length else "..." + name[3 - length :]


def one_line(text: str) -> str:
    """Text of a model as a terminal may show it: without line breaks and control characters.

    >>> one_line("a\\x1b[2J red\\n circle")
    'a [2J red circle'
    """
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def flowed(pieces: Sequence[str], width: int, style: str = "") -> list[Text]:
    """The pieces beside each other, in as many lines as they take.

    >>> [line.plain for line in flowed(["12 tokens/s", "2 s/step", "98 % full"], 26)]
    ['12 tokens/s   2 s/step', '98 % full']
    """
    lines: list[str] = []
    for piece in pieces:
        if lines and len(lines[-1]) + 3 + len(piece) <= width:
            lines[-1] += "   " + piece
        else:
            lines.append(piece)
    return [Text(line, style, no_wrap=True) for line in lines]


def stage_states(folders: Mapping[str, Path], running: str) -> list[StageState]:
    """The stages beside the one that runs: from their folders, in their order. One alone is not listed."""
    if len(folders) < 2 or running not in folders:
        return []
    return [_stage_state(name, folder, running) for name, folder in folders.items()]


def _stage_state(name: str, folder: Path, running: str) -> StageState:
    if name == running:
        return StageState(name, "running")
    if not (folder / FINISHED_FILE).exists():
        return StageState(name, "to come")
    line = last_line(folder / METRICS_FILE, MetricsLine)
    return StageState(name, "done", "" if line is None else f"loss {line.loss:.4f}")
