"""`aurora evaluate`: scores of captions beside references, by kept ratio, and of two models on the same media."""

from pathlib import Path

from aurora_cli.captioning.job.request import named_rows
from aurora_cli.captioning.job.rows import Row
from aurora_cli.config.settings import Settings
from aurora_cli.config.share import take_share
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.data.media.remote.roots import lookups_of
from aurora_cli.errors import DataError
from aurora_cli.evaluation.captions import read_captions
from aurora_cli.evaluation.judge.marks import JUDGED
from aurora_cli.evaluation.judge.prompts import HELD, write_prompts
from aurora_cli.evaluation.references import ReferenceSet, read_references
from aurora_cli.evaluation.scores import SPICE
from aurora_cli.evaluation.spice import find_spice
from aurora_cli.evaluation.stored import CURVE_FILE, FILE, PAGE_FILE
from aurora_cli.io.atomic import disk_errors, write_text
from aurora_cli.io.locks import lock_output
from aurora_cli.io.urls import is_url, parent_of
from aurora_cli.pipeline.evaluate.evaluated import evaluated
from aurora_cli.pipeline.evaluate.judge_scores import CaptionJudge
from aurora_cli.pipeline.evaluate.judging import check_judge
from aurora_cli.pipeline.evaluate.page import write_page
from aurora_cli.pipeline.evaluate.points import points_of
from aurora_cli.pipeline.evaluate.reference_media import reference_media
from aurora_cli.pipeline.evaluate.request import EvaluateRequest, resolve_request
from aurora_cli.pipeline.evaluate.result import EvaluateResult, PromptsResult, result_of
from aurora_cli.pipeline.evaluate.scoring import metrics_named
from aurora_cli.pipeline.evaluate.shares import ShareResult, caption_share, merge_shares
from aurora_cli.storage.copies import naming_urls
from aurora_cli.training.processes.heap import keep_freed_memory, use_huge_pages
from aurora_cli.training.processes.ranks import use_passive_openmp


def run(
    settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False
) -> EvaluateResult | ShareResult | PromptsResult:
    """Score captions beside references, those of a model after they are made. What gives none is listed, and makes the
    exit code 3.

    Raises:
        UsageError: no references are named, or a metric that is none.
        DataError: a file is missing, no caption belongs to any reference, or there is no model.
        SettingsError: a tower cannot merge down to a kept ratio.
        HostError: the tokenizer or SPICE is asked for and not there.
    """
    use_passive_openmp()
    use_huge_pages()
    keep_freed_memory()
    evaluate, workspace = settings.evaluate, Workspace(settings.workspace)
    if evaluate.judge.write_prompts is not None:
        return _write_prompts(workspace.path(evaluate.judge.write_prompts), dry_run=dry_run)
    request = resolve_request(settings, reporter)
    selected = metrics_named(evaluate.metrics, has_judge=evaluate.judge.url is not None)
    if SPICE in selected:
        find_spice()  # before anything is captioned
    if dry_run and request.captions is not None and evaluate.judge.url is None:
        return EvaluateResult(
            request.name_of(request.captions), request.name_of(request.references), str(request.output), dry_run=True
        )
    with naming_urls(request.urls):
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
            request.name_of(request.captions),
            request.name_of(request.references),
            str(request.output),
            dry_run=True,
            notes=plan,
        )
    share = take_share(evaluate.shard, reporter)
    rows, points = _rows(settings, request, references, reporter), points_of(settings)
    if dry_run:
        return EvaluateResult(
            "",
            request.name_of(request.references),
            str(request.output),
            dry_run=True,
            model=request.model,
            media=len(rows) if share is None else sum(map(share.takes, range(len(rows)))),
            points=len(points),
        )
    with disk_errors(request.output):
        request.output.mkdir(parents=True, exist_ok=True)
    if share is not None:
        captioned = caption_share(settings, request.model or "", rows, points, request.output, share, reporter)
        if not captioned.is_last:
            return captioned
    elif request.captions is None:
        merge_shares(points, request.output)
    with naming_urls(request.urls), lock_output(request.output, "aurora evaluate"):
        evaluation = evaluated(settings, request, references, rows, selected, judge, reporter)
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
    root, lookups = evaluate.media_root, ()
    if root is not None and (is_url(root) or root.lower().endswith(".tar")):
        root, lookups = None, lookups_of([root], workspace.root, reporter)
    elif root is None and request.home is not None:
        lookups = lookups_of([parent_of(request.home)], workspace.root, reporter)
    folder = beside if root is None else workspace.path(root)
    media = reference_media(references, folder, workspace, lookups=lookups, home=request.home)
    if not media.rows:
        where = evaluate.media_root or (folder if request.home is None else parent_of(request.home))
        raise DataError(
            f"{where}: has none of the media that {request.name_of(request.references)} names; the first is"
            f" {media.missing[0]}",
            hint="--media-root DIR says where they are, --media PATH names them (each caption is about one medium).",
        )
    if media.missing:
        reporter.warning(f"{len(media.missing):,} media of the references are not there; first {media.missing[0]}")
    return media.rows
