"""Captions of the same media at every kept ratio and number of frames: the points of the curve."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aurora_cli.captioning.job.output import check_output
from aurora_cli.captioning.job.request import CaptionRequest
from aurora_cli.captioning.job.rows import Row
from aurora_cli.captioning.result import Caption
from aurora_cli.config.settings import CaptionSettings, Settings
from aurora_cli.console import NotedAdvance, Reporter
from aurora_cli.errors import DataError
from aurora_cli.evaluation.captions import CaptionOf, caption_of
from aurora_cli.evaluation.stored import Cost
from aurora_cli.imports import imported_at_once, without_compiler

if TYPE_CHECKING:
    from aurora_cli.captioning.job.source import CaptionerSource
    from aurora_cli.captioning.options import CaptionOptions


class Point(NamedTuple):
    """A kept ratio and a number of frames, as the user says them; none: those of training."""

    token_kept_ratio: float | None
    frames: int | None

    @property
    def words(self) -> str:
        """What tells it from the other points.

        >>> Point(0.1, 8).words, Point(None, None).words
        ('ratio-0.1-frames-8', '')
        """
        named = (("ratio", self.token_kept_ratio), ("frames", self.frames))
        return "-".join(f"{name}-{value}" for name, value in named if value is not None)

    def file(self, folder: Path) -> Path:
        """Where its captions go."""
        return folder / f"captions{f'-{self.words}' if self.words else ''}.jsonl"

    def settings(self, caption: CaptionSettings) -> CaptionSettings:
        """Those of `aurora caption` with which it is captioned."""
        return caption.model_copy(update=self._asdict())


class Made(NamedTuple):
    """How captions were made."""

    token_kept_ratio: float
    frames: int
    cost: Cost
    uncaptioned: int
    """Media that could not be captioned."""
    trained_ratio: float


class Candidate(NamedTuple):
    """A file of captions to score."""

    file: Path
    captions: list[CaptionOf]
    made: Made | None = None
    """None: they were there."""


def points_of(settings: Settings) -> list[Point]:
    """Every kept ratio with every number of frames, in the order in which they are named."""
    evaluate, caption = settings.evaluate, settings.caption
    ratios: Sequence[float | None] = [*dict.fromkeys(evaluate.token_kept_ratios)] or [caption.token_kept_ratio]
    frames: Sequence[int | None] = [*dict.fromkeys(evaluate.frames)] or [caption.frames]
    return [Point(ratio, count) for ratio in ratios for count in frames]


def caption_points(
    settings: Settings, model: str, rows: tuple[Row, ...], points: Sequence[Point], folder: Path, reporter: Reporter
) -> Iterator[Candidate]:
    """Caption the media at one point after the other; what a file holds already is not captioned again.

    Raises:
        UsageError: a file holds something else, or the prompt is too long.
        SettingsError: the tower cannot merge down to one of the ratios.
        DataError: the model is damaged, or none of the media can be captioned.
    """
    with imported_at_once(), without_compiler():
        from aurora_cli.captioning.job.session import CaptionSession

    source, options = checked_source(settings, model, points, folder, reporter)
    trained = source.checkpoint.merging
    for point, each in zip(points, options, strict=True):
        request, caption = CaptionRequest(model, rows, point.file(folder)), point.settings(settings.caption)
        captioned = CaptionSession(source, request, caption, QuietReporter(reporter, point)).run()
        if not captioned.captions:
            first = captioned.uncaptioned[0]
            raise DataError(f"none of the media could be captioned; the first is {first.media}: {first.reason}")
        limit = each.decoding.max_new_tokens
        cost = cost_of(captioned.captions)
        made = Made(each.merging.kept_ratio, each.frames, cost, len(captioned.uncaptioned), trained.kept_ratio)
        yield Candidate(point.file(folder), [_as_read(caption, limit) for caption in captioned.captions], made)


def checked_source(
    settings: Settings, model: str, points: Sequence[Point], folder: Path, reporter: Reporter
) -> "tuple[CaptionerSource, list[CaptionOptions]]":
    """The model and how it captions at each point, which it can: known before hours of captioning, not after them.

    Raises:
        UsageError: a file holds something else.
        SettingsError: the tower cannot merge down to one of the ratios.
        DataError: the model is damaged.
    """
    with imported_at_once(), without_compiler():
        from aurora_cli.captioning.job.source import CaptionerSource
        from aurora_cli.checkpoints.loading import config_of

    for point in points:
        check_output(point.file(folder))
    source = CaptionerSource(settings, model, reporter, warms_up=True)
    side = source.checkpoint.model.image_size
    options = [source.options(point.settings(settings.caption)) for point in points]
    for each in options:
        config_of(source.checkpoint).frame_token_counts(side, side, each.merging)
    return source, options


def cost_of(captions: Sequence[Caption]) -> Cost:
    """Means a medium; the most of memory."""
    costs = [caption.cost for caption in captions if caption.cost is not None]
    prefills = [cost.prefill_s for cost in costs if cost.prefill_s is not None]
    visual_tokens = sum(caption.visual_tokens for caption in captions)
    return Cost(
        visual_tokens=visual_tokens / len(captions),
        tokens_per_frame=visual_tokens / sum(caption.frames for caption in captions),
        prefill_s=sum(prefills) / len(prefills) if prefills else None,
        decode_s=sum(cost.decode_s for cost in costs) / len(costs) if costs else None,
        peak_memory_mb=max((cost.peak_memory_mb for cost in costs), default=None),
    )


def _as_read(caption: Caption, limit: int) -> CaptionOf:
    """A caption as it would be read from its file."""
    read = caption_of(asdict(caption), limit)
    assert not isinstance(read, str), "a caption has a medium and a text"
    return read


class QuietReporter(Reporter):
    """Says which point is captioned; the captions themselves are in files, and not shown."""

    def __init__(self, reporter: Reporter, point: Point) -> None:
        self._reporter, self._point = reporter, point

    def info(self, message: str) -> None:
        self._reporter.info(message)

    def warning(self, message: str) -> None:
        self._reporter.warning(message)

    @contextmanager
    def progress(self, description: str, total: int | None, unit: str = "items") -> Iterator[NotedAdvance]:
        words = f"{description} {self._point.words}".strip()
        with self._reporter.progress(words, total, unit) as advance:
            yield advance
