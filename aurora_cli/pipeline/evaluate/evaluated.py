"""All that an evaluation finds, of captions that are there or of a model's at every point of its curve."""

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import NamedTuple

from aurora_cli.captioning.job.rows import Row
from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import Reporter
from aurora_cli.evaluation.best import enough_tokens
from aurora_cli.evaluation.captions import CaptionSet, read_captions
from aurora_cli.evaluation.contamination.found import Contamination
from aurora_cli.evaluation.judge.summary import Judged
from aurora_cli.evaluation.matching import Matched
from aurora_cli.evaluation.meteor import Meteor, find_meteor
from aurora_cli.evaluation.references import ReferenceSet
from aurora_cli.evaluation.scores import METEOR
from aurora_cli.evaluation.stored import CurvePoint, Evaluation, Value
from aurora_cli.evaluation.tokens import resolve_tokenizer
from aurora_cli.io.urls import is_url
from aurora_cli.pipeline.evaluate.contamination import check_contamination
from aurora_cli.pipeline.evaluate.examples import Examples
from aurora_cli.pipeline.evaluate.judge_scores import CaptionJudge
from aurora_cli.pipeline.evaluate.judging import JudgedCaptions
from aurora_cli.pipeline.evaluate.points import Candidate, caption_points, points_of
from aurora_cli.pipeline.evaluate.request import EvaluateRequest
from aurora_cli.pipeline.evaluate.scoring import InWords, Scoring


class _Scored(NamedTuple):
    """Captions with their scores."""

    candidate: Candidate
    matched: Matched
    in_words: InWords
    values: dict[str, Value]
    judged: JudgedCaptions | None


def evaluated(
    settings: Settings,
    request: EvaluateRequest,
    references: ReferenceSet,
    rows: tuple[Row, ...],
    selected: list[str],
    judge: CaptionJudge | None,
    reporter: Reporter,
) -> Evaluation:
    """Caption at every point where captions are to be made, score, and look at the best point more closely.

    Raises:
        DataError: no caption belongs to any reference.
        HostError: a program of Java's is not there, or fails.
    """
    evaluate = settings.evaluate
    tokenizer = resolve_tokenizer(evaluate.tokenizer)
    ours, others = _read(request.captions), _read(request.against)
    workspace = Workspace(settings.workspace)
    beside = [file.parent for file in (request.captions, request.references) if file is not None]
    examples = Examples([workspace.root, *beside, *_media_folder(settings)])
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
            against = replace(against, captions=request.name_of(request.against))
    made, in_words = best.candidate.made, best.in_words
    return Evaluation(
        captions=request.name_of(best.candidate.file),
        references=request.name_of(request.references),
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
        dtype=None if request.model is None else settings.caption.dtype,
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
    data = map(workspace.path, evaluate.check_contamination)
    return check_contamination(
        data, matched, [*_media_folder(settings), workspace.root, *folders], workspace, reporter, evaluate.near_images
    )


def _media_folder(settings: Settings) -> list[Path]:
    """`--media-root`, if it is a folder of this machine."""
    root = settings.evaluate.media_root
    return [] if root is None or is_url(root) else [Workspace(settings.workspace).path(root)]


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
