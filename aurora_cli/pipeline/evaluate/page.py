"""`evaluation.html`: an evaluation as a page for a browser, made from evaluation.json and the media that lie here."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup

from aurora_cli.evaluation.judge.marks import ACCURACY, SCORE
from aurora_cli.evaluation.judge.verdict import HIGHEST
from aurora_cli.evaluation.stored import Against, CurvePoint, DifferenceValue, Evaluation, Example, Value
from aurora_cli.io.atomic import write_text
from aurora_cli.pipeline.evaluate.curve_table import enough_lines
from aurora_cli.pipeline.evaluate.page_media import Thumbnail, Thumbnails
from aurora_cli.reports.curve import curve_chart
from aurora_cli.reports.intervals import interval_bar
from aurora_cli.reports.page import Chart, Fact, Page, render

CALLED = {
    "bleu_1": "BLEU-1", "bleu_2": "BLEU-2", "bleu_3": "BLEU-3", "bleu_4": "BLEU-4", "rouge_l": "ROUGE-L",
    "meteor": "METEOR", "cider": "CIDEr-D", "spice": "SPICE", "words": "words", "repetition": "repetition",
    "cut": "cut by the limit", "distinct_1": "distinct words", "distinct_2": "distinct pairs",
}  # fmt: skip
"""Metrics as people call them; others by their name."""
SCALES = {"cider": (0.0, 10.0), SCORE: (0.0, float(HIGHEST)), "words": None}
"""What a metric is drawn on; others from 0 to 1."""
LOW_IS_BETTER = {"repetition", "cut"}
NEITHER = {"words", "distinct_1", "distinct_2"}
"""Metrics of which neither more nor less is better."""
FACTS = (SCORE, ACCURACY, "cider", "bleu_4", "rouge_l", "meteor", "words", "repetition")
CURVES = 4
"""Drawings of the curve."""
NAMES = 50
"""Ids of a list that are shown."""


class MetricRow(NamedTuple):
    """A line of the table of scores."""

    name: str
    value: str
    interval: str
    drawing: Markup | None


class DifferenceRow(NamedTuple):
    """A line of the table of two models."""

    name: str
    difference: str
    interval: str
    p: str
    verdict: str
    kind: str
    """`good`, `bad` or nothing: the class of the verdict."""
    drawing: Markup


class Card(NamedTuple):
    """A medium with what was written of it."""

    id: str
    score: str
    thumbnail: Thumbnail
    captions: list[tuple[str, str]]
    """Who wrote it, and what."""
    references: tuple[str, ...]


class PointRow(NamedTuple):
    """A point of the curve."""

    ratio: str
    frames: int
    tokens: str
    score: str
    prefill: str
    decode: str
    memory: str


class Pair(NamedTuple):
    """Two models beside each other."""

    ours: str
    theirs: str
    matched: int
    rows: list[DifferenceRow]
    cards: list[Card]


class Unscored(NamedTuple):
    """Something that was not scored."""

    what: str
    names: list[str]
    """The first."""
    count: int


@dataclass(frozen=True)
class EvaluationPage(Page):
    """What the template shows."""

    facts: list[Fact]
    rows: list[MetricRow]
    curve: list[Chart]
    enough: list[str]
    """Which point of the curve needs the fewest tokens."""
    points: list[PointRow]
    pair: Pair | None
    best: list[Card]
    worst: list[Card]
    unscored: list[Unscored]
    how: list[tuple[str, str]]


def write_page(path: Path, evaluation: Evaluation) -> None:
    """Write it."""
    write_text(path, page_of(evaluation))


def page_of(evaluation: Evaluation) -> str:
    """The page as `write_page` writes it."""
    thumbnails = Thumbnails()
    page = EvaluationPage(
        title=evaluation.model or Path(evaluation.captions).name,
        lead=f"{evaluation.matched:,} captions beside the references in {Path(evaluation.references).name}",
        foot="Written by aurora evaluate.",
        facts=[_fact(name, evaluation.metrics[name]) for name in FACTS if name in evaluation.metrics],
        rows=[_row(name, value) for name, value in evaluation.metrics.items()],
        curve=_curve(evaluation),
        enough=enough_lines(evaluation.curve or (), evaluation.enough),
        points=[_point(point) for point in evaluation.curve or ()],
        pair=None if evaluation.against is None else _pair(evaluation, evaluation.against, thumbnails),
        best=[_card(one, thumbnails) for one in evaluation.best],
        worst=[_card(one, thumbnails) for one in evaluation.worst],
        unscored=_unscored(evaluation),
        how=_how(evaluation),
    )
    return render("evaluation.html.j2", page)


def _fact(name: str, value: Value) -> Fact:
    note = "" if value.low is None or value.high is None else f"{_number(value.low)} to {_number(value.high)}"
    return Fact(_called(name), _number(value.value), note)


def _called(name: str) -> str:
    return CALLED.get(name, name.replace("_", " "))


def _number(value: float) -> str:
    """
    >>> _number(0.12345), _number(12.345)
    ('0.123', '12.35')
    """
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.2f}"


def _row(name: str, value: Value) -> MetricRow:
    scale = SCALES.get(SCORE if name.startswith(SCORE) else name, (0.0, 1.0))
    drawing = None if scale is None else interval_bar(value.value, value.low, value.high, scale)
    return MetricRow(_called(name), _number(value.value), _fact(name, value).note, drawing)


def _pair(evaluation: Evaluation, against: Against, thumbnails: Thumbnails) -> Pair:
    ours, theirs = short_names(evaluation.captions, against.captions)
    cards = [
        Card(
            one.id,
            f"{_called(against.apart_by)} {one.difference:+.2f}",
            thumbnails.of(one.medium),
            [(ours, one.caption), (theirs, one.against)],
            one.references,
        )
        for one in against.apart
    ]
    rows = [_difference(name, value) for name, value in against.metrics.items()]
    return Pair(ours, theirs, against.matched, rows, cards)


def short_names(ours: str, theirs: str) -> tuple[str, str]:
    """What two files are called beside each other: by as much of their ends as tells them apart.

    >>> short_names("runs/a/captions.jsonl", "runs/b/captions.jsonl"), short_names("new.jsonl", "old.jsonl")
    (('a/captions', 'b/captions'), ('new', 'old'))
    """
    paths = [Path(name).with_suffix("").parts for name in (ours, theirs)]
    for length in range(1, max(map(len, paths)) + 1):
        first, second = ("/".join(path[-length:]) for path in paths)
        if first != second:
            return first, second
    return ours, theirs


def _difference(name: str, value: DifferenceValue) -> DifferenceRow:
    low, high = value.low or 0.0, value.high or 0.0
    reach = max(abs(value.value), abs(low), abs(high)) or 1.0
    verdict, kind = verdict_of(name, value)
    interval = f"{low:+.3f} to {high:+.3f}"
    p = "" if value.p is None else f"{value.p:.3f}"
    drawing = interval_bar(value.value, value.low, value.high, (-reach, reach), kind=kind)
    return DifferenceRow(_called(name), f"{value.value:+.3f}", interval, p, verdict, kind, drawing)


def verdict_of(name: str, value: DifferenceValue) -> tuple[str, str]:
    """In words, and the class of its colour.

    >>> verdict_of("cider", DifferenceValue(0.2, 0.1, 0.3)), verdict_of("cut", DifferenceValue(0.2, 0.1, 0.3))
    (('better', 'good'), ('worse', 'bad'))
    >>> verdict_of("cider", DifferenceValue(0.2, -0.1, 0.3)), verdict_of("words", DifferenceValue(2.0, 1.0, 3.0))
    (('no clear difference', ''), ('more', ''))
    """
    if value.low is None or value.high is None or value.low <= 0 <= value.high:
        return "no clear difference", ""
    if name in NEITHER:
        return "more" if value.value > 0 else "fewer", ""
    return ("better", "good") if (value.value > 0) != (name in LOW_IS_BETTER) else ("worse", "bad")


def _card(one: Example, thumbnails: Thumbnails) -> Card:
    return Card(
        one.id, f"CIDEr-D {one.cider:.2f}", thumbnails.of(one.medium), [("caption", one.caption)], one.references
    )


def _curve(evaluation: Evaluation) -> list[Chart]:
    """A drawing of each score that facts are made of, the one that points are judged by first."""
    if evaluation.curve is None:
        return []
    first = [] if evaluation.enough is None else [evaluation.enough.metric]
    names = [name for name in dict.fromkeys([*first, *FACTS]) if name in evaluation.curve[0].metrics]
    return [Chart(_called(name), curve_chart(evaluation.curve, name), "bars: intervals") for name in names[:CURVES]]


def _point(point: CurvePoint) -> PointRow:
    name = next((name for name in FACTS if name in point.metrics), None)
    cost = point.cost
    return PointRow(
        ratio=f"{point.token_kept_ratio:g}",
        frames=point.frames,
        tokens=f"{cost.tokens_per_frame:,.1f}",
        score="" if name is None else f"{_number(point.metrics[name].value)} ({_fact(name, point.metrics[name]).note})",
        prefill=_milliseconds(cost.prefill_s),
        decode=_milliseconds(cost.decode_s),
        memory="-" if cost.peak_memory_mb is None else f"{cost.peak_memory_mb:,.0f} MB",
    )


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:,.0f} ms"


def _unscored(evaluation: Evaluation) -> list[Unscored]:
    lists: list[tuple[str, Sequence[str]]] = [
        ("captions without a reference", evaluation.captions_without_reference),
        ("media with references and no caption", evaluation.references_without_caption),
        ("lines that cannot be read", [f"{file}:{line}: {reason}" for file, line, reason in evaluation.unreadable]),
    ]
    if (judged := evaluation.judged) is not None:
        for questions, what in ((judged.unparseable, "replies without a verdict"), (judged.failed, "failed questions")):
            lists.append((what, [f"{each.id}: {each.question} ({each.reason})" for each in questions]))
    return [Unscored(what, [*names[:NAMES]], len(names)) for what, names in lists if names]


def _how(evaluation: Evaluation) -> list[tuple[str, str]]:
    words = {"ptb": "Stanford's tokenizer, as publications do", "python": "aurora's tokenizer, without Java"}
    judged, contamination = evaluation.judged, evaluation.contamination
    return [
        *([] if judged is None else [("judge", f"{judged.model}, prompts {judged.prompts[:12]}")]),
        *([] if contamination is None else [("in the training data", "; ".join(contamination.counts()))]),
        ("captions", evaluation.captions),
        ("references", evaluation.references),
        ("words cut by", words[evaluation.tokenizer]),
        ("intervals", f"95 %, of {evaluation.resamples:,} resamples of the media, seed {evaluation.seed}"),
    ]
