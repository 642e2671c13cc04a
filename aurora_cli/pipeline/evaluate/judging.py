"""Captions judged by a language model: what is asked, what was judged before, and what came of it."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from aurora_cli.config.judging import JudgeSettings
from aurora_cli.console import Reporter
from aurora_cli.errors import UsageError
from aurora_cli.evaluation.judge.asking import Unanswered, ask
from aurora_cli.evaluation.judge.endpoint import Address, Endpoint, address_of, key_of
from aurora_cli.evaluation.judge.journal import Journal, Judgement, Pending, pending_of
from aurora_cli.evaluation.judge.marks import Mark
from aurora_cli.evaluation.judge.prompts import Prompts
from aurora_cli.evaluation.judge.questions import Question, in_order
from aurora_cli.evaluation.judge.summary import Judged, Unmarked
from aurora_cli.evaluation.judge.verdict import Verdict, verdict_in
from aurora_cli.evaluation.matching import Matched
from aurora_cli.evaluation.references import ReferenceSet
from aurora_cli.io.locks import lock_output

JOURNAL = "judgements.jsonl"


class Judge(NamedTuple):
    """A language model, and how it is asked."""

    settings: JudgeSettings
    model: str
    address: Address
    key: str | None
    prompts: Prompts

    @classmethod
    def of(cls, settings: JudgeSettings, prompts: Prompts) -> "Judge":
        """
        Raises:
            UsageError: the address or the key's variable is not right.
        """
        return cls(settings, settings.model or "", address_of(settings.url or ""), key_of(settings.key_env), prompts)

    def endpoint(self) -> Endpoint:
        """To be closed."""
        limits = self.settings
        return Endpoint(
            self.address,
            self.model,
            self.key,
            max_tokens=limits.max_tokens,
            timeout_s=limits.timeout_s,
            tries=limits.tries,
        )


class JudgedCaptions(NamedTuple):
    """The verdicts on a file's captions."""

    summary: Judged
    marks: list[Mark]


def check_judge(judge: JudgeSettings, references: ReferenceSet, path: Path) -> None:
    """
    Raises:
        UsageError: there are questions and no judge, or a judge without a model or questions.
    """
    if judge.url is None:
        if not any(references.texts):
            raise UsageError(
                f"{path}: holds questions, which a language model answers and judges; none is named",
                hint="aurora evaluate ... --judge http://127.0.0.1:8000/v1 --judge-model NAME",
            )
        return
    if judge.model is None:
        raise UsageError("--judge: no model is named", hint=f"--judge {address_of(judge.url).shown} --judge-model NAME")
    if not any(references.questions.values()):
        raise UsageError(
            f"{path}: holds no questions for the judge",
            hint="A line is {'id': ..., 'qa': [{'question': ..., 'answer': ..., 'category': ...}]}.",
        )


def judge_captions(
    judge: Judge, matched: Matched, questions: Mapping[str, list[Question]], journal: Path, reporter: Reporter
) -> JudgedCaptions:
    """Have every question judged that is not in the journal yet.

    Raises:
        HostError: the endpoint answers no request.
    """
    pending = _pending(judge, matched, questions)
    with lock_output(journal, "aurora evaluate"):
        kept = Journal(journal)
        left = _left(pending, kept)
        reporter.info(f"{len(pending):,} questions, {len(left):,} of them to be asked: equal captions are judged once")
        failed: dict[str, str] = {}
        with (
            contextlib.closing(judge.endpoint()) as endpoint,
            reporter.progress("judge", len(left), "questions") as advance,
        ):
            for result in ask(left, endpoint, judge.prompts, judge.model, judge.settings.concurrency, kept.add):
                if isinstance(result, Unanswered):
                    failed[result.pending.key] = result.reason
                advance(1, f"{len(failed)} failed" if failed else "")
    return _summary(judge, pending, kept.judgements, failed)


def questions_left(
    judge: Judge, matched: Matched, questions: Mapping[str, list[Question]], journal: Path
) -> tuple[int, int]:
    """How many questions there are, and how many of them would be asked."""
    pending = _pending(judge, matched, questions)
    return len(pending), len(_left(pending, Journal(journal)))


def _pending(judge: Judge, matched: Matched, questions: Mapping[str, list[Question]]) -> list[Pending]:
    return [
        pending_of(name, caption.text, question, judge.prompts, judge.model, judge.settings.max_tokens)
        for name, caption in zip(matched.media, matched.captions, strict=True)
        for question in questions.get(name, [])
    ]


def _left(pending: Sequence[Pending], kept: Journal) -> list[Pending]:
    return [*{each.key: each for each in pending if each.key not in kept.judgements}.values()]


def _summary(
    judge: Judge, pending: Sequence[Pending], judgements: dict[str, Judgement], failed: dict[str, str]
) -> JudgedCaptions:
    verdicts = {
        each.key: verdict_in(judgements[each.key].reply) if judgements[each.key].answer else "the answer is empty"
        for each in pending
        if each.key in judgements
    }
    marks = [
        Mark(each.id, each.question.text, each.question.category, verdict)
        for each in pending
        if isinstance(verdict := verdicts.get(each.key), Verdict)
    ]
    unparseable = [
        Unmarked(each.id, each.question.text, _reason(reason, judgements[each.key]))
        for each in pending
        if isinstance(reason := verdicts.get(each.key), str)
    ]
    used = [judgements[key] for key in dict.fromkeys(each.key for each in pending) if key in judgements]
    counts = Counter(mark.category for mark in marks if mark.category is not None)
    summary = Judged(
        model=judge.model,
        prompts=judge.prompts.sha256,
        questions=len(pending),
        scored=len(marks),
        by_category={category: counts[category] for category in in_order({*counts})},
        unparseable=tuple(unparseable),
        failed=tuple(_unmarked(pending, failed)),
        requests=sum(each.requests for each in used),
        prompt_tokens=sum(each.prompt_tokens for each in used),
        completion_tokens=sum(each.completion_tokens for each in used),
        uncounted=sum(each.uncounted for each in used),
    )
    return JudgedCaptions(summary, marks)


def _reason(reason: str, judgement: Judgement) -> str:
    reply = " ".join(judgement.reply.split())
    return f"{reason}: {reply[:200]!r}" if reply else reason


def _unmarked(pending: Iterable[Pending], failed: dict[str, str]) -> Iterable[Unmarked]:
    return (Unmarked(each.id, each.question.text, failed[each.key]) for each in pending if each.key in failed)
