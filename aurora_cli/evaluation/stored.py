"""`evaluation.json`: what an evaluation found, as a file that pages, model cards and other programs read."""

from dataclasses import dataclass
from typing import ClassVar

from aurora_cli.evaluation.contamination.found import Contamination
from aurora_cli.evaluation.judge.summary import Judged
from aurora_cli.evaluation.tokens import TokenizerName
from aurora_cli.io.json_files import StoredModel

FILE = "evaluation.json"
CURVE_FILE = "curve.svg"
"""Beside it, where there is a curve."""
PAGE_FILE = "evaluation.html"
"""Beside it, the same to look at."""


@dataclass(frozen=True)
class Value:
    """A score, and where it would lie for 95 of 100 such sets of media; none: it has no interval."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class DifferenceValue(Value):
    """How much higher the first captions score than the second on the same media."""

    p: float | None = None
    """How often chance gives a difference at least as large."""


@dataclass(frozen=True)
class Example:
    """A medium that a captioner does best or worst."""

    id: str
    cider: float
    """Of its caption alone."""
    caption: str
    references: tuple[str, ...]
    medium: str | None = None
    """The path of its image or video; none: it is not here."""


@dataclass(frozen=True)
class Apart:
    """A medium on which two models differ most."""

    id: str
    difference: float
    """In the metric that they are ordered by."""
    caption: str
    against: str
    references: tuple[str, ...] = ()
    medium: str | None = None
    """As of an `Example`."""


@dataclass(frozen=True)
class Against:
    """The comparison with other captions, on the media that both have captions of."""

    captions: str
    matched: int
    metrics: dict[str, DifferenceValue]
    apart: tuple[Apart, ...]
    """Those on which they differ most, the largest first."""
    apart_by: str = "cider"
    """In which metric; where there are only questions, the judge's score."""
    judged: Judged | None = None
    """What a judge said of the other captions."""


@dataclass(frozen=True)
class Cost:
    """What captioning took, a medium's mean; none: not measured."""

    visual_tokens: float
    """That the language model reads of a medium."""
    tokens_per_frame: float
    """Visual tokens of a frame."""
    prefill_s: float | None = None
    """Vision tower, projector and prompt, up to the first token of a caption."""
    decode_s: float | None = None
    """The other tokens."""
    peak_memory_mb: float | None = None
    """The most that the process held, on a GPU what the device did: weights and all."""


@dataclass(frozen=True)
class CurvePoint:
    """A model at one kept ratio and number of frames."""

    token_kept_ratio: float
    frames: int
    """Of a video."""
    captions: str
    """The file of them."""
    matched: int
    metrics: dict[str, Value]
    cost: Cost


@dataclass(frozen=True)
class Enough:
    """The fewest visual tokens that score within the confidence interval of the best."""

    metric: str
    """By this score."""
    point: int
    """Of the curve, from 0: the one with the fewest visual tokens a medium."""
    best: int
    """The point that scores highest."""


class Evaluation(StoredModel):
    """`evaluation.json`."""

    WHAT: ClassVar[str] = "an evaluation"

    captions: str
    """What the metrics are of: with a curve the captions of its best point."""
    references: str
    tokenizer: TokenizerName
    resamples: int
    seed: int
    matched: int
    captions_without_reference: tuple[str, ...]
    references_without_caption: tuple[str, ...]
    unreadable: tuple[tuple[str, int, str], ...]
    """File, line and reason of lines that give no caption or no reference."""
    metrics: dict[str, Value]
    best: tuple[Example, ...] = ()
    """The best first."""
    worst: tuple[Example, ...] = ()
    against: Against | None = None
    model: str | None = None
    """That captioned; none: the captions were there."""
    dtype: str | None = None
    """Of its weights, as `--dtype` said; none: the device's own, bfloat16 on a GPU and float32 on a CPU."""
    trained_ratio: float | None = None
    """The kept ratio that the model was trained with."""
    uncaptioned: int = 0
    """Media that could not be captioned; listed in rejected.jsonl."""
    cost: Cost | None = None
    """Of the captions; none: they were there."""
    curve: tuple[CurvePoint, ...] | None = None
    """By kept ratio and frames, as they were named."""
    enough: Enough | None = None
    """None: there is no curve, or no score that says which point is better."""
    judged: Judged | None = None
    """What a judge was asked, at all points; none: there is none."""
    contamination: Contamination | None = None
    """None: no training data are named to look in."""
