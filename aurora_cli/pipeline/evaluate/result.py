"""What `aurora evaluate` found, as lines and as `--json`."""

from dataclasses import dataclass, field

from aurora_cli.errors import EXIT_DATA, EXIT_OK
from aurora_cli.evaluation.stored import Against, Value
from aurora_cli.evaluation.tokens import TokenizerName
from aurora_cli.pipeline.result import Result

SHOWN = 5
"""Ids of each list that are named on the screen."""


@dataclass(frozen=True)
class EvaluateResult(Result):
    """The scores, and what could not be scored."""

    captions: str
    references: str
    output: str
    dry_run: bool = False
    tokenizer: TokenizerName | None = None
    matched: int = 0
    captions_without_reference: int = 0
    references_without_caption: int = 0
    unreadable: int = 0
    metrics: dict[str, Value] = field(default_factory=dict)
    against: Against | None = None
    curve: None = None
    """Scores by kept ratio: not measured by this version."""
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        if self.dry_run:
            return [f"Would score {self.captions} beside {self.references}, and write {self.output}"]
        lines = [f"{self.matched:,} captions beside their references; words by the {self.tokenizer} tokenizer"]
        lines += [f"  {name:<12} {_shown(value)}" for name, value in self.metrics.items()]
        lines += self.notes
        if self.against is not None:
            lines += _against_lines(self.against)
        return [*lines, self.output]

    @property
    def exit_code(self) -> int:
        return EXIT_DATA if self.unreadable else EXIT_OK


def _shown(value: Value) -> str:
    """
    >>> _shown(Value(value=0.5, low=0.25, high=0.75)), _shown(Value(value=12.0))
    ('  0.5000  (0.2500 to 0.7500)', ' 12.0000')
    """
    interval = "" if value.low is None or value.high is None else f"  ({value.low:.4f} to {value.high:.4f})"
    return f"{value.value:>8.4f}{interval}"


def _against_lines(against: Against) -> list[str]:
    lines = [f"less {against.captions}, on the {against.matched:,} media that both caption:"]
    for name, value in against.metrics.items():
        p = "" if value.p is None else f"  p = {value.p:.3f}"
        lines.append(f"  {name:<12} {_shown(value)}{p}")
    if against.apart:
        lines.append("they differ most (CIDEr) on:")
        lines += [
            f"  {each.difference:+.2f} {each.id}: {each.caption} | {each.against}" for each in against.apart[:SHOWN]
        ]
    return lines
