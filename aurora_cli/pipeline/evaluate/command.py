"""`aurora evaluate`: scores of captions beside references, and of two models on the same media."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from aurora_cli.config.settings import EvaluateSettings, Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.console import SILENT, Reporter
from aurora_cli.errors import DataError, UsageError
from aurora_cli.evaluation.captions import CaptionSet, read_captions
from aurora_cli.evaluation.matching import Matched, match
from aurora_cli.evaluation.meteor import Meteor, find_meteor
from aurora_cli.evaluation.references import ReferenceSet, read_references
from aurora_cli.evaluation.resampling import differences, intervals
from aurora_cli.evaluation.scores import DISTINCT, METEOR, METRICS, Scored, Scorer
from aurora_cli.evaluation.stored import FILE, Against, Apart, DifferenceValue, Evaluation, Value
from aurora_cli.evaluation.tokens import resolve_tokenizer
from aurora_cli.io.atomic import disk_errors, lock_output
from aurora_cli.pipeline.evaluate.result import SHOWN, EvaluateResult

APART = 20
"""Media on which two models differ most that are written."""


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
    selected = _metrics(evaluate.metrics)
    if dry_run:
        return EvaluateResult(str(files.captions), str(files.references), str(files.output), dry_run=True)
    tokenizer = resolve_tokenizer(evaluate.tokenizer)
    captions, references = read_captions(files.captions), read_references(files.references)
    unreadable = [*captions.unreadable, *references.unreadable]
    matched, theirs = _matched(files.captions, captions, references, files.references), None
    if files.against is not None:
        others = read_captions(files.against)
        unreadable += others.unreadable
        theirs = _matched(files.against, others, references, files.references)
    reporter.info(f"scoring {len(matched.captions):,} captions")
    has_meteor = METEOR in selected and find_meteor() is not None
    with Meteor() if has_meteor else contextlib.nullcontext() as meteor:
        scorer = Scorer(tokenizer, meteor)
        values = _values(scorer, _scored(scorer, matched), selected, evaluate)
        against = None if theirs is None else _against(files.against, matched, theirs, selected, evaluate, scorer)
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


def _metrics(given: Sequence[str]) -> list[str]:
    """The metrics of these names, in the order of the table; all where none is named."""
    if unknown := [name for name in given if name not in METRICS]:
        raise UsageError(f"--metric {unknown[0]}: is no metric; there are {', '.join(METRICS)}")
    return [name for name in METRICS if not given or name in given]


def _matched(path: Path, captions: CaptionSet, references: ReferenceSet, source: Path) -> Matched:
    matched = match(captions.captions, references)
    if not matched.captions:
        raise DataError(
            f"{path}: none of its captions is of a medium that {source} has references of: it begins with "
            f"{captions.captions[0].names[0]!r}, the references with {references.names[0][0]!r}"
        )
    return matched


def _scored(scorer: Scorer, matched: Matched) -> Scored:
    captions = [caption.text for caption in matched.captions]
    return scorer.scored(captions, matched.references, [caption.is_cut for caption in matched.captions])


def _values(scorer: Scorer, ours: Scored, selected: Sequence[str], evaluate: EvaluateSettings) -> dict[str, Value]:
    found = intervals(ours.columns_NC, scorer.statistic, resamples=evaluate.resamples, seed=evaluate.seed)
    values = {name: Value(**each._asdict()) for name, each in zip(scorer.names, found, strict=True)}
    values |= {name: Value(value=value) for name, value in zip(DISTINCT, ours.distinct, strict=True)}
    if not ours.has_cut:
        del values["cut"]
    return {name: values[name] for name in selected if name in values}


def _against(
    path: Path | None,
    matched: Matched,
    others: Matched,
    selected: Sequence[str],
    evaluate: EvaluateSettings,
    scorer: Scorer,
) -> Against:
    """The difference to the captions of another file, on the media that both caption."""
    theirs = dict(zip(others.names, others.captions, strict=True))
    both = [at for at, name in enumerate(matched.names) if name in theirs]
    if not both:
        raise DataError(f"{path}: captions none of the media that are evaluated")
    names = [matched.names[at] for at in both]
    ours, texts = [matched.captions[at] for at in both], [matched.references[at] for at in both]
    first = _scored(scorer, Matched(names, ours, texts, [], []))
    second = _scored(scorer, Matched(names, [theirs[name] for name in names], texts, [], []))
    found = differences(
        first.columns_NC, second.columns_NC, scorer.statistic, resamples=evaluate.resamples, seed=evaluate.seed
    )
    values = {name: DifferenceValue(**each._asdict()) for name, each in zip(scorer.names, found, strict=True)}
    if not (first.has_cut and second.has_cut):
        del values["cut"]
    by_item = scorer.cider(first) - scorer.cider(second)
    order = sorted(range(len(names)), key=lambda item: -abs(by_item[item]))[:APART]
    return Against(
        captions=str(path),
        matched=len(names),
        metrics={name: values[name] for name in selected if name in values},
        apart=tuple(
            Apart(id=names[at], difference=by_item[at], caption=ours[at].text, against=theirs[names[at]].text)
            for at in order
            if by_item[at]
        ),
    )


def _notes(evaluation: Evaluation, evaluate: EvaluateSettings, selected: Sequence[str]) -> list[str]:
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
