"""What `aurora evaluate` found, as lines and as `--json`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from aurora_cli.constants import REJECTS_FILE
from aurora_cli.errors import EXIT_DATA, EXIT_OK
from aurora_cli.evaluation.contamination.found import Contamination
from aurora_cli.evaluation.judge.summary import Judged
from aurora_cli.evaluation.scores import METEOR, METRICS
from aurora_cli.evaluation.stored import PAGE_FILE, Against, Cost, CurvePoint, Enough, Evaluation, Value
from aurora_cli.evaluation.tokens import TokenizerName
from aurora_cli.pipeline.evaluate.curve_table import curve_table, enough_lines
from aurora_cli.pipeline.result import Result

_JAVA = "pip install 'aurora-cli[evaluate]', and a Java"

SHOWN = 5
"""Ids of each list that are named on the screen."""


AnyValue = TypeVar("AnyValue", bound=Value)


@dataclass(frozen=True)
class PromptsResult(Result):
    """The judge's prompts, as files to change."""

    prompts: tuple[str, ...]
    dry_run: bool = False

    def lines(self) -> list[str]:
        return [f"{'Would write ' if self.dry_run else ''}{path}" for path in self.prompts]


@dataclass(frozen=True)
class EvaluateResult(Result):
    """The scores, and what could not be scored."""

    captions: str
    """Empty: they are to be made."""
    references: str
    output: str
    page: str | None = None
    dry_run: bool = False
    media: int = 0
    """To caption, of a dry run."""
    points: int = 0
    """At which they are captioned, of a dry run."""
    tokenizer: TokenizerName | None = None
    matched: int = 0
    captions_without_reference: int = 0
    references_without_caption: int = 0
    unreadable: int = 0
    metrics: dict[str, Value] = field(default_factory=dict)
    against: Against | None = None
    model: str | None = None
    uncaptioned: int = 0
    cost: Cost | None = None
    curve: tuple[CurvePoint, ...] | None = None
    enough: Enough | None = None
    judged: Judged | None = None
    contamination: Contamination | None = None
    notes: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        if self.dry_run:
            return [self._planned(), *self.notes]
        words = f"; words by the {self.tokenizer} tokenizer" if any(name in METRICS for name in self.metrics) else ""
        lines = [f"{self.matched:,} captions beside their references{words}"]
        if self.curve is None:
            lines += [f"  {name} {_shown(value)}" for name, value in _aligned(self.metrics)]
        else:
            lines += [*curve_table(self.curve), *enough_lines(self.curve, self.enough)]
        if self.judged is not None:
            lines += self.judged.lines()
        lines += self.notes
        if self.against is not None:
            lines += _against_lines(self.against)
        if self.contamination is not None:
            lines += self.contamination.lines()
        return [*lines, self.output, f"to look at: {self.page}"]

    @property
    def exit_code(self) -> int:
        judged = [self.judged, None if self.against is None else self.against.judged]
        has_failed = any(each is not None and each.failed for each in judged)
        return EXIT_DATA if self.unreadable or self.uncaptioned or has_failed else EXIT_OK

    def _planned(self) -> str:
        if self.model is None:
            return f"Would score {self.captions} beside {self.references}, and write {self.output}"
        where = f" at {self.points} points" if self.points > 1 else ""
        return (
            f"Would caption {self.media:,} media with {self.model}{where}, score the captions beside"
            f" {self.references}, and write {self.output}"
        )


def result_of(evaluation: Evaluation, output: Path, selected: Sequence[str], *, is_auto: bool) -> EvaluateResult:
    """What the command line shows of an evaluation; `is_auto`: nobody asked for its tokenizer."""
    return EvaluateResult(
        captions=evaluation.captions,
        references=evaluation.references,
        output=str(output),
        page=str(output.with_name(PAGE_FILE)),
        tokenizer=evaluation.tokenizer,
        matched=evaluation.matched,
        captions_without_reference=len(evaluation.captions_without_reference),
        references_without_caption=len(evaluation.references_without_caption),
        unreadable=len(evaluation.unreadable),
        metrics=evaluation.metrics,
        against=evaluation.against,
        model=evaluation.model,
        uncaptioned=evaluation.uncaptioned,
        cost=evaluation.cost,
        curve=evaluation.curve,
        enough=evaluation.enough,
        judged=evaluation.judged,
        contamination=evaluation.contamination,
        notes=tuple(_notes(evaluation, selected, is_auto=is_auto)),
    )


def _notes(evaluation: Evaluation, selected: Sequence[str], *, is_auto: bool) -> list[str]:
    """What was not scored, and what a score of publications is not comparable with."""
    notes = []
    for names, what in (
        (evaluation.captions_without_reference, "captions have no reference"),
        (evaluation.references_without_caption, "media with references have no caption"),
        ([f"{file}:{line}: {reason}" for file, line, reason in evaluation.unreadable], "lines cannot be read"),
    ):
        if names:
            some = ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")
            notes.append(f"{len(names):,} {what}: {some}")
    if evaluation.uncaptioned:
        notes.append(f"{evaluation.uncaptioned:,} media could not be captioned; {REJECTS_FILE} says why")
    if METEOR in selected and METEOR not in evaluation.metrics:
        notes.append(f"meteor is left out: it takes {_JAVA}")
    if evaluation.tokenizer == "python" and is_auto and any(name in METRICS for name in selected):
        notes.append(f"publications cut words with Java's tokenizer: {_JAVA}")
    return notes


def _aligned(metrics: Mapping[str, AnyValue]) -> list[tuple[str, AnyValue]]:
    """With names of one width."""
    width = max(map(len, metrics), default=0)
    return [(f"{name:<{max(12, width)}}", value) for name, value in metrics.items()]


def _shown(value: Value) -> str:
    """
    >>> _shown(Value(value=0.5, low=0.25, high=0.75)), _shown(Value(value=12.0))
    ('  0.5000  (0.2500 to 0.7500)', ' 12.0000')
    """
    interval = "" if value.low is None or value.high is None else f"  ({value.low:.4f} to {value.high:.4f})"
    return f"{value.value:>8.4f}{interval}"


def _against_lines(against: Against) -> list[str]:
    lines = [f"less {against.captions}, on the {against.matched:,} media that both caption:"]
    for name, value in _aligned(against.metrics):
        p = "" if value.p is None else f"  p = {value.p:.3f}"
        lines.append(f"  {name} {_shown(value)}{p}")
    if against.judged is not None:
        lines += against.judged.lines()
    if against.apart:
        lines.append(f"they differ most ({against.apart_by}) on:")
        lines += [
            f"  {each.difference:+.2f} {each.id}: {each.caption} | {each.against}" for each in against.apart[:SHOWN]
        ]
    return lines
