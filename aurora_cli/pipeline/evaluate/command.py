"""`aurora evaluate`: scores of captions beside references, by kept ratio, and of two models on the same media."""

import contextlib
from collections.abc import Iterable, Sequence
from functools import reduce
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
from aurora_cli.evaluation.contamination.found import Contamination
from aurora_cli.evaluation.judge.marks import JUDGED
from aurora_cli.evaluation.judge.prompts import HELD, write_prompts
from aurora_cli.evaluation.judge.summary import Judged
from aurora_cli.evaluation.matching import Matched
from aurora_cli.evaluation.meteor import Meteor, find_meteor
from aurora_cli.evaluation.references import ReferenceSet, read_references
from aurora_cli.evaluation.scores import METEOR, SPICE
from aurora_cli.evaluation.spice import find_spice
from aurora_cli.evaluation.stored import CURVE_FILE, FILE, PAGE_FILE, CurvePoint, Evaluation, Value
from aurora_cli.evaluation.tokens import resolve_tokenizer
from aurora_cli.io.atomic import disk_errors, write_text
from aurora_cli.io.locks import lock_output
from aurora_cli.pipeline.evaluate.contamination import check_contamination
from aurora_cli.pipeline.evaluate.examples import Examples
from aurora_cli.pipeline.evaluate.judge_scores import CaptionJudge
from aurora_cli.pipeline.evaluate.judging import JudgedCaptions, check_judge
from aurora_cli.pipeline.evaluate.page import write_page
from aurora_cli.pipeline.evaluate.points import Candidate, caption_points, points_of
from aurora_cli.pipeline.evaluate.reference_media import reference_media
from aurora_cli.pipeline.evaluate.request import EvaluateRequest, resolve_request
from aurora_cli.pipeline.evaluate.result import EvaluateResult, PromptsResult, result_of
from aurora_cli.pipeline.evaluate.scoring import InWords, Scoring, metrics_named


class _Scored(NamedTuple):
    """Captions with their scores."""

    candidate: Candidate
    matched: Matched
    in_words: InWords
    values: dict[str, Value]
    judged: JudgedCaptions | None


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> EvaluateResult | PromptsResult:
    """Score captions beside references, those of a model after they are made. What gives none is listed, and makes the
    exit code 3.

    Raises:
        UsageError: no references are named, a metric that is none, or captions and how to make them.
        DataError: a file is missing, no caption belongs to any reference, or there is no model.
        SettingsError: a tower cannot merge down to a kept ratio.
        HostError: the tokenizer or SPICE is asked for and not there.
    """
    evaluate, workspace = settings.evaluate, Workspace(settings.workspace)
    if evaluate.judge.write_prompts is not None:
        return _write_prompts(workspace.path(evaluate.judge.write_prompts), dry_run=dry_run)
    request = resolve_request(settings, reporter)
    selected = metrics_named(evaluate.metrics, has_judge=evaluate.judge.url is not None)
    if SPICE in selected:
        find_spice()  # before anything is captioned
    if dry_run and request.captions is not None and evaluate.judge.url is None:
        return EvaluateResult(str(request.captions), str(request.references), str(request.output), dry_run=True)
    references = read_references(request.references)
    check_judge(evaluate.judge, references, request.references)
    selected = [name for name in selected if any(references.texts) or name in JUDGED]
    judge = None
    if any(name in JUDGED for name in selected):
        judge = CaptionJudge(evaluate, workspace, references, selected, reporter)
    if dry_run and request.captions is not None:
        captions = read_captions(request.captions).captions
        plan = () if judge is None else (judge.plan(captions, references, request.output),)
        return EvaluateResult(
            str(request.captions), str(request.references), str(request.output), dry_run=True, notes=plan
        )
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
        evaluation = _evaluated(settings, request, references, rows, selected, judge, reporter)
        with disk_errors(request.output):
            if evaluation.curve is not None and evaluation.enough is not None:
                from aurora_cli.reports.curve import curve_chart, standalone

                drawing = standalone(curve_chart(evaluation.curve, evaluation.enough.metric))
                write_text(request.output / CURVE_FILE, drawing)
            evaluation.write(request.output / FILE)
            write_page(request.output / PAGE_FILE, evaluation)
    return result_of(evaluation, request.output / FILE, selected, is_auto=evaluate.tokenizer == "auto")


def _write_prompts(folder: Path, *, dry_run: bool) -> PromptsResult:
    paths = [folder / name for name in HELD] if dry_run else write_prompts(folder)
    return PromptsResult(tuple(map(str, paths)), dry_run)


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
    judge: CaptionJudge | None,
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
        scored = [_scored(scoring, judge, candidate, request, reporter) for candidate in candidates]
        curve = _curve(scored) if evaluate.token_kept_ratios or evaluate.frames else None
        enough = None if curve is None else enough_tokens(curve)
        best = scored[0 if enough is None else enough.best]
        against = None
        if theirs is not None and request.against is not None:
            against = scoring.against(request.against, best.matched, best.in_words, theirs, examples)
            if judge is not None and best.judged is not None:
                against = judge.against(against, (best.matched, best.judged), theirs, request.against, examples)
    made, in_words = best.candidate.made, best.in_words
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
        best=examples.best(in_words.matched, in_words.cider_N),
        worst=examples.worst(in_words.matched, in_words.cider_N),
        against=against,
        model=request.model,
        trained_ratio=None if made is None else made.trained_ratio,
        uncaptioned=0 if made is None else made.uncaptioned,
        cost=None if made is None else made.cost,
        curve=curve,
        enough=enough,
        judged=_of_all_points(scored),
        contamination=_contamination(settings, request, best.matched, reporter),
    )


def _read(path: Path | None) -> CaptionSet:
    return CaptionSet([], []) if path is None else read_captions(path)


def _scored(
    scoring: Scoring, judge: CaptionJudge | None, candidate: Candidate, request: EvaluateRequest, reporter: Reporter
) -> _Scored:
    reporter.info(f"scoring {len(candidate.captions):,} captions")
    matched = scoring.matched(candidate.file, candidate.captions)
    in_words = scoring.in_words(matched)
    if judge is None:
        return _Scored(candidate, matched, in_words, in_words.values, None)
    judged = judge.judged(matched, request.output)
    return _Scored(candidate, matched, in_words, {**in_words.values, **judge.values(judged)}, judged)


def _of_all_points(scored: Sequence[_Scored]) -> Judged | None:
    first, *others = (None if each.judged is None else each.judged.summary for each in scored)
    return reduce(lambda one, other: one if one is None or other is None else one + other, others, first)


def _contamination(
    settings: Settings, request: EvaluateRequest, matched: Matched, reporter: Reporter
) -> Contamination | None:
    evaluate, workspace = settings.evaluate, Workspace(settings.workspace)
    if not evaluate.check_contamination:
        return None
    folders = [request.references.parent, *(file.parent for file in (request.captions,) if file is not None)]
    named = [] if evaluate.media_root is None else [workspace.path(evaluate.media_root)]
    data = map(workspace.path, evaluate.check_contamination)
    return check_contamination(
        data, matched, [*named, workspace.root, *folders], workspace, reporter, evaluate.near_images
    )


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
