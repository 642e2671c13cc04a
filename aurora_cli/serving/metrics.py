"""What the server did, as Prometheus reads it (text exposition format 0.0.4)."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)
"""Upper bounds of what a histogram counts together."""


class Histogram:
    """Counts of times, by upper bounds."""

    def __init__(self) -> None:
        self.counts, self.sum = [0] * (len(SECONDS) + 1), 0.0

    def add(self, value: float) -> None:
        self.counts[bisect_left(SECONDS, value)] += 1
        self.sum += value

    def lines(self, name: str) -> Iterator[str]:
        total = 0
        for bound, count in zip((*SECONDS, "+Inf"), self.counts, strict=True):
            total += count
            yield f'{name}_bucket{{le="{bound}"}} {total}'
        yield f"{name}_sum {self.sum:.6f}"
        yield f"{name}_count {total}"


class Metrics:
    """Counters of one server. To each one thread adds: the model's, or that of the requests."""

    def __init__(self) -> None:
        self.answers = Counter[tuple[str, int]]()
        """By path and status."""
        self.prompt_tokens = 0
        self.visual_tokens = 0
        self.new_tokens = 0
        self.failures = 0
        """Of the model itself."""
        self.left = 0
        """Requests whose client went away before the end."""
        self.seconds, self.first_token_seconds = Histogram(), Histogram()

    def text(self, gauges: Mapping[str, int]) -> str:
        """All of it; `gauges` are what is so at this moment."""
        lines: list[str] = []
        for name, value in gauges.items():
            lines += [f"# TYPE aurora_{name} gauge", f"aurora_{name} {value}"]
        lines.append("# TYPE aurora_answers_total counter")
        for (path, status), count in sorted(self.answers.items()):
            lines.append(f'aurora_answers_total{{path="{path}",status="{status}"}} {count}')
        counters = {
            "prompt_tokens": self.prompt_tokens,
            "visual_tokens": self.visual_tokens,
            "new_tokens": self.new_tokens,
            "model_failures": self.failures,
            "clients_left": self.left,
        }
        for name, value in counters.items():
            lines += [f"# TYPE aurora_{name}_total counter", f"aurora_{name}_total {value}"]
        for name, histogram in (
            ("aurora_request_seconds", self.seconds),
            ("aurora_first_token_seconds", self.first_token_seconds),
        ):
            lines += [f"# TYPE {name} histogram", *histogram.lines(name)]
        return "\n".join(lines) + "\n"
