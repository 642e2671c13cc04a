"""`aurora evaluate`: scores of captions beside references, and of two models on the same media."""

import contextlib
from pathlib import Path
from typing import NamedTuple

from aurora_cli.config.settings import EvaluateSettings, Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.errors import UsageError
from aurora_cli.evaluation.captions import read_captions
from aurora_cli.evaluation.meteor import Meteor, find_meteor
from aurora_cli.evaluation.references import read_references
from aurora_cli.evaluation.scores import METEOR
from aurora_cli.evaluation.stored import FILE, Evaluation
from aurora_cli.evaluation.tokens import resolve_tokenizer
from aurora_cli.io.atomic import disk_errors, lock_output
from aurora_cli.pipeline.evaluate.result import SHOWN, EvaluateResult
from aurora_cli.pipeline.evaluate.scoring import Scoring, metrics_named


class _Files(NamedTuple):
    captions: Path
    references: Path
    against: Path | None
    output: Path


def run(settings: Settings, reporter: Reporter = SILENT, *, dry_run: bool = False) -> EvaluateResult:
    """Score captions beside references. Lines that give none are listed, and make the exit code 3.

    Raises:
        UsageError: no captions or references are named, or a metric that is none.
        DataError: a file is missing, or no caption belongs to any reference.
        HostError: the tokenizer that is asked for is not there.
    """
    evaluate = settings.evaluate
    files = _files(evaluate, Workspace(settings.workspace))
    selected = metrics_named(evaluate.metrics)
    if dry_run:
        return EvaluateResult(str(files.captions), str(files.references), str(files.output), dry_run=True)
    tokenizer = resolve_tokenizer(evaluate.tokenizer)
    captions, references = read_captions(files.captions), read_references(files.references)
    unreadable = [*captions.unreadable, *references.unreadable]
    reporter.info(f"scoring {len(captions.captions):,} captions")
    has_meteor = METEOR in selected and find_meteor() is not None
    with Meteor() if has_meteor else contextlib.nullcontext() as meteor:
        scoring = Scoring(references, files.references, evaluate, tokenizer, meteor)
        matched, against = scoring.matched(files.captions, captions.captions), None
        values = scoring.values(matched)
        if files.against is not None:
            others = read_captions(files.against)
            unreadable += others.unreadable
            against = scoring.against(files.against, matched, scoring.matched(files.against, others.captions))
    evaluation = Evaluation(
        captions=str(files.captions),
        references=str(files.references),
        tokenizer=tokenizer,
        resamples=evaluate.resamples,
        seed=evaluate.seed,
        matched=len(matched.captions),
        captions_without_reference=tuple(matched.captions_alone),
        references_without_caption=tuple(matched.references_alone),
        unreadable=tuple((each.file, each.line, each.reason) for each in unreadable),
        metrics=values,
        against=against,
    )
    with disk_errors(files.output):
        files.output.mkdir(parents=True, exist_ok=True)
        with lock_output(files.output, "aurora evaluate"):
            evaluation.write(files.output / FILE)
    return EvaluateResult(
        captions=evaluation.captions,
        references=evaluation.references,
        output=str(files.output / FILE),
        tokenizer=tokenizer,
        matched=len(matched.captions),
        captions_without_reference=len(matched.captions_alone),
        references_without_caption=len(matched.references_alone),
        unreadable=len(unreadable),
        metrics=values,
        against=against,
        notes=tuple(_notes(evaluation, evaluate, selected)),
    )


def _files(evaluate: EvaluateSettings, workspace: Workspace) -> _Files:
    if evaluate.captions is None or evaluate.references is None:
        lacking = "captions" if evaluate.captions is None else "references"
        raise UsageError(f"no {lacking} are named", hint="aurora evaluate captions.jsonl --references references.jsonl")
    captions = workspace.path(evaluate.captions)
    return _Files(
        captions,
        workspace.path(evaluate.references),
        None if evaluate.against is None else workspace.path(evaluate.against),
        workspace.path(evaluate.output or Path("evaluation", captions.stem)),
    )


def _notes(evaluation: Evaluation, evaluate: EvaluateSettings, selected: list[str]) -> list[str]:
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
    if METEOR in selected and METEOR not in evaluation.metrics:
        notes.append(f"meteor is left out: it takes {_JAVA}")
    if evaluation.tokenizer == "python" and evaluate.tokenizer == "auto":
        notes.append(f"publications cut words with Java's tokenizer: {_JAVA}")
    return notes


_JAVA = "pip install 'aurora-cli[evaluate]', and a Java"
