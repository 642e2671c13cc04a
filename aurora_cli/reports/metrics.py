"""What metrics.jsonl adds up to, read once and a line at a time: a run of a million steps takes no more memory."""

import json
import os
from collections import deque
from pathlib import Path

from aurora_cli.reports.charts import Point
from aurora_cli.runs.lines import CAPTION_SCORES, MetricsLine

POINTS = 400
"""Of a curve at most; of more steps, neighbours are averaged."""

RECENT = 20
"""Steps that a rate is the mean of: the last ones."""

CURVES = ("loss", "validation_loss", "lr", "grad_norm", "tokens_per_s", "fill", "step_s", *CAPTION_SCORES)
"""What of a line is drawn over its step."""


class Curve:
    """Values over steps, each point the mean of so many neighbouring values that there are `POINTS` at most.

    >>> curve = Curve(most=2)
    >>> for step, value in enumerate((1.0, 3.0, 5.0, 7.0, 9.0), 1):
    ...     curve.add(step, value)
    >>> curve.points()
    [(4.0, 4.0), (5.0, 9.0)]
    """

    def __init__(self, most: int = POINTS) -> None:
        self._most = most  # even: neighbours are joined in pairs
        self._values_a_point = 1
        self._groups: list[tuple[float, float, int]] = []
        """The last step of each point, the sum of its values, and how many they are."""

    def add(self, step: float, value: float) -> None:
        if self._groups and self._groups[-1][2] < self._values_a_point:
            _, total, count = self._groups[-1]
            self._groups[-1] = (float(step), total + value, count + 1)
            return
        if len(self._groups) == self._most:
            pairs = zip(self._groups[::2], self._groups[1::2], strict=True)
            self._groups = [(last, first + second, n + m) for (_, first, n), (last, second, m) in pairs]
            self._values_a_point *= 2
        self._groups.append((float(step), float(value), 1))

    def points(self) -> list[Point]:
        """(step, value) in order; the step is the last of those that a point stands for."""
        return [(step, total / count) for step, total, count in self._groups]


class RunMetrics:
    """Sums, extremes and curves over the lines of metrics.jsonl. `update` takes in the lines since the last call."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._begin()

    def _begin(self) -> None:
        self._inode: int | None = None
        self._offset = 0
        self.lines = 0
        self.first: MetricsLine | None = None
        self.last: MetricsLine | None = None
        self.samples = self.tokens = self.visual_tokens = 0
        self.seconds = self.fill_sum = self.max_mem_mb = 0.0
        self.validation_at_start: float | None = None
        self.validation_last: float | None = None
        self.validation_lowest: float | None = None
        self.validation_lowest_step = 0
        self.evaluated_last: MetricsLine | None = None
        """The last line with scores of captions."""
        self.cider_highest: float | None = None
        self.cider_highest_step = 0
        self.recent: deque[MetricsLine] = deque(maxlen=RECENT)
        self.curves = {key: Curve() for key in CURVES}
        self._loss_by_ratio: dict[float, Curve] = {}
        self._validation_by_ratio: dict[float, Curve] = {}

    @property
    def loss_by_ratio(self) -> dict[str, list[Point]]:
        """The loss of steps at each kept ratio, ascending; none: the run has but one."""
        return _by_ratio(self._loss_by_ratio)

    @property
    def validation_by_ratio(self) -> dict[str, list[Point]]:
        """The validation loss at each kept ratio, ascending; none: the run has but one, or it is not measured."""
        return _by_ratio(self._validation_by_ratio)

    def update(self) -> None:
        """Read on. A file that was replaced (a resumed run cuts it back) is read from its start.

        A line that is not whole ends it, and is left for the next call.

        Raises:
            DataError: a line is something else than metrics.
        """
        if not self._path.is_file():
            return
        with open(self._path, "rb") as file:
            now = os.fstat(file.fileno())
            if now.st_ino != self._inode or now.st_size < self._offset:
                self._begin()
                self._inode = now.st_ino
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                try:
                    content = json.loads(line)
                except json.JSONDecodeError:
                    return
                self._add(MetricsLine.parse(content, Path(f"{self._path}:{self.lines + 1}")))
                self._offset += len(line)

    def _add(self, line: MetricsLine) -> None:
        self.lines += 1
        self.first = self.first or line
        self.last = line
        self.recent.append(line)
        self.samples += line.samples
        self.tokens += line.tokens
        self.visual_tokens += line.visual_tokens
        self.seconds += line.step_s
        self.fill_sum += line.fill
        self.max_mem_mb = max(self.max_mem_mb, line.max_mem_mb)
        if line.validation_loss_at_start is not None:
            self.validation_at_start = line.validation_loss_at_start
            self.curves["validation_loss"].add(line.step - 1, line.validation_loss_at_start)
        if line.validation_loss is not None:
            self.validation_last = line.validation_loss
            if self.validation_lowest is None or line.validation_loss < self.validation_lowest:
                self.validation_lowest, self.validation_lowest_step = line.validation_loss, line.step
        if line.cider is not None:
            self.evaluated_last = line
            if self.cider_highest is None or line.cider > self.cider_highest:
                self.cider_highest, self.cider_highest_step = line.cider, line.step
        if line.kept_ratio is not None:
            self._loss_by_ratio.setdefault(line.kept_ratio, Curve()).add(line.step, line.loss)
        for ratio, loss in (line.validation_loss_by_ratio or {}).items():
            self._validation_by_ratio.setdefault(float(ratio), Curve()).add(line.step, loss)
        for key, curve in self.curves.items():
            value: float | None = getattr(line, key)
            if value is not None:
                curve.add(line.step, value)


def _by_ratio(curves: dict[float, Curve]) -> dict[str, list[Point]]:
    return {f"{ratio:g}": curves[ratio].points() for ratio in sorted(curves)}
