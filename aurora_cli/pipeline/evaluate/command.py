"""`aurora evaluate`: scores of captions beside references, by kept ratio, and of two models on the same media."""

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from aurora_cli.captioning.job.request import named_rows
from aurora_cli.captioning.job.rows import Row
from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.errors import DataError
from aurora_cli.evaluation.best import enough_tokens
from aurora_cli.evaluation.captions import CaptionSet, read_captions
from aurora_cli.evaluation.matching import Matched
from aurora_cli.evaluation.meteor import Meteor, find_meteor
from aurora_cli.evaluation.references import ReferenceSet, read_references
from aurora_cli.evaluation.scores import METEOR
from aurora_cli.evaluation.stored import CURVE_FILE, FILE, PAGE_FILE, CurvePoint, Evaluation, Value
from aurora_cli.evaluation.tokens import resolve_tokenizer
from aurora_cli.io.atomic import disk_errors, lock_output, write_text
from aurora_cli.pipeline.evaluate.examples import Examples
from aurora_cli.pipeline.evaluate.page import write_page
from aurora_cli.pipeline.evaluate.points import Candidate, caption_points, points_of
from aurora_cli.pipeline.evaluate.reference_media import reference_media
from aurora_cli.pipeline.evaluate.request import EvaluateRequest, resolve_request
from aurora_cli.pipeline.evaluate.result import EvaluateResult, result_of
from aurora_cli.pipeline.evaluate.scoring import Scoring, metrics_named


class _Scored(NamedTuple):
    """Captions with their scores."""

    candidate: Candidate
    matched: Matched
    values: dict[str, Value]


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> EvaluateResult:
    """Score captions beside references, those of a model after they are made. What gives none is listed, and makes the
    exit code 3.

    Raises:
        UsageError: no references are named, a metric that is none, or captions and how to make them.
        DataError: a file is missing, no caption belongs to any reference, or there is no model.
        SettingsError: a tower cannot merge down to a kept ratio.
        HostError: the tokenizer that is asked for is not there.
    """
    request = resolve_request(settings, reporter)
    selected = metrics_named(settings.evaluate.metrics)
    if dry_run and request.captions is not None:
        return EvaluateResult(str(request.captions), str(request.references), str(request.output), dry_run=True)
    references = read_references(request.references)
    rows = _rows(settings, request, references, reporter)
    if dry_run:
        return EvaluateResult(
            "",
            str(request.references),
            str(request.output),
            dry_run=True,
            model=request.model,
            media=len(rows),
            points=len(points_of(settings)),
        )
    with disk_errors(request.output):
        request.output.mkdir(parents=True, exist_ok=True)
    with lock_output(request.output, "aurora evaluate"):
        evaluation = _evaluated(settings, request, references, rows, selected, reporter)
        with disk_errors(request.output):
            if evaluation.curve is not None and evaluation.enough is not None:
                from aurora_cli.reports.curve import curve_chart, standalone

                drawing = standalone(curve_chart(evaluation.curve, evaluation.enough.metric))
                write_text(request.output / CURVE_FILE, drawing)
            evaluation.write(request.output / FILE)
            write_page(request.output / PAGE_FILE, evaluation)
    return result_of(evaluation, request.output / FILE, selected, is_auto=settings.evaluate.tokenizer == "auto")


def _rows(
    settings: Settings, request: EvaluateRequest, references: ReferenceSet, reporter: Reporter
) -> tuple[Row, ...]:
    """What is captioned first."""
    evaluate, workspace = settings.evaluate, Workspace(settings.workspace)
    if request.captions is not None:
        return ()
    if evaluate.media:
        return named_rows(evaluate.media, workspace.root, reporter, allow_remote=settings.caption.allow_remote)
    beside = request.references if request.references.is_dir() else request.references.parent
    folder = beside if evaluate.media_root is None else workspace.path(evaluate.media_root)
    media = reference_media(references, folder, workspace)
    if not media.rows:
        raise DataError(
            f"{folder}: has none of the media that {request.references} names; the first is {media.missing[0]}",
            hint="--media-root DIR says where they are, --media PATH names them (each caption is about one medium).",
        )
    if media.missing:
        reporter.warning(f"{len(media.missing):,} media of the references are not there; first {media.missing[0]}")
    return media.rows


def _evaluated(
    settings: Settings,
    request: EvaluateRequest,
    references: ReferenceSet,
    rows: tuple[Row, ...],
    selected: list[str],
    reporter: Reporter,
) -> Evaluation:
    evaluate = settings.evaluate
    tokenizer = resolve_tokenizer(evaluate.tokenizer)
    ours, others = _read(request.captions), _read(request.against)
    workspace = Workspace(settings.workspace)
    beside = [file.parent for file in (request.captions, request.references) if file is not None]
    examples = Examples([workspace.root, *beside, *([workspace.path(root)] if (root := evaluate.media_root) else [])])
    has_meteor = METEOR in selected and find_meteor() is not None
    with Meteor() if has_meteor else contextlib.nullcontext() as meteor:
        scoring = Scoring(references, request.references, evaluate, selected, tokenizer, meteor)
        theirs = None if request.against is None else scoring.matched(request.against, others.captions)
        if request.captions is not None:
            candidates: Iterable[Candidate] = [Candidate(request.captions, ours.captions)]
        else:
            points = points_of(settings)
            candidates = caption_points(settings, request.model or "", rows, points, request.output, reporter)
        scored = [_scored(scoring, candidate, reporter) for candidate in candidates]
        curve = _curve(scored) if evaluate.token_kept_ratios or evaluate.frames else None
        enough = None if curve is None else enough_tokens(curve)
        best = scored[0 if enough is None else enough.best]
        against = None
        if theirs is not None and request.against is not None:
            against = scoring.against(request.against, best.matched, theirs, examples)
        cider_N = scoring.cider(best.matched)
    made = best.candidate.made
    return Evaluation(
        captions=str(best.candidate.file),
        references=str(request.references),
        tokenizer=tokenizer,
        resamples=evaluate.resamples,
        seed=evaluate.seed,
        matched=len(best.matched.captions),
        captions_without_reference=tuple(best.matched.captions_alone),
        references_without_caption=tuple(best.matched.references_alone),
        unreadable=tuple(
            (each.file, each.line, each.reason)
            for each in (*ours.unreadable, *references.unreadable, *others.unreadable)
        ),
        metrics=best.values,
        best=examples.best(best.matched, cider_N),
        worst=examples.worst(best.matched, cider_N),
        against=against,
        model=request.model,
        trained_ratio=None if made is None else made.trained_ratio,
        uncaptioned=0 if made is None else made.uncaptioned,
        cost=None if made is None else made.cost,
        curve=curve,
        enough=enough,
    )


def _read(path: Path | None) -> CaptionSet:
    return CaptionSet([], []) if path is None else read_captions(path)


def _scored(scoring: Scoring, candidate: Candidate, reporter: Reporter) -> _Scored:
    reporter.info(f"scoring {len(candidate.captions):,} captions")
    matched = scoring.matched(candidate.file, candidate.captions)
    return _Scored(candidate, matched, scoring.values(matched))


def _curve(scored: Sequence[_Scored]) -> tuple[CurvePoint, ...]:
    return tuple(
        CurvePoint(
            token_kept_ratio=made.token_kept_ratio,
            frames=made.frames,
            captions=str(each.candidate.file),
            matched=len(each.matched.captions),
            metrics=each.values,
            cost=made.cost,
        )
        for each in scored
        if (made := each.candidate.made) is not None
    )
