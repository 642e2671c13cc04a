"""Questions put to a judge, so many at a time: each is answered from its caption, then the answer is judged."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from aurora_cli.errors import HostError
from aurora_cli.evaluation.judge.endpoint import Complete, Failed
from aurora_cli.evaluation.judge.journal import Judgement, Pending
from aurora_cli.evaluation.judge.prompts import Prompts
from aurora_cli.evaluation.judge.verdict import without_thoughts

GIVEN_UP_AFTER = 10
"""Questions one after another whose requests fail: then the judge is gone, and not one question in the way."""


class Unanswered(NamedTuple):
    """A question whose request failed for good."""

    pending: Pending
    reason: str


def judged(pending: Pending, complete: Complete, prompts: Prompts, model: str) -> Judgement:
    """
    Raises:
        Failed: a request is not answered.
        HostError: no request is.
    """
    question = pending.question
    replies = [complete(prompts.to_answer(pending.caption, question.text))]
    answer = without_thoughts(replies[0].text)
    if answer:
        replies.append(complete(prompts.to_judge(question.text, question.answer, answer)))
    return Judgement(
        key=pending.key,
        id=pending.id,
        question=question.text,
        category=question.category,
        right_answer=question.answer,
        answer=answer,
        reply=replies[1].text if answer else "",
        model=model,
        requests=len(replies),
        prompt_tokens=sum(reply.prompt_tokens or 0 for reply in replies),
        completion_tokens=sum(reply.completion_tokens or 0 for reply in replies),
        uncounted=sum(reply.prompt_tokens is None for reply in replies),
    )


def ask(
    pending: Sequence[Pending],
    complete: Complete,
    prompts: Prompts,
    model: str,
    concurrency: int,
    keep: Callable[[Judgement], None],
) -> Iterator[Judgement | Unanswered]:
    """Each as it is judged, in no order. `keep` has it before another question is taken: of what is paid for, a kill
    loses what is under way.

    Raises:
        HostError: no request is answered, or so many one after another are not.
    """
    left, lock, writing = iter(pending), threading.Lock(), threading.Lock()
    results: queue.SimpleQueue[Judgement | Unanswered | Exception] = queue.SimpleQueue()

    def work() -> None:
        while True:
            with lock:
                item = next(left, None)
            if item is None:
                return
            try:
                judgement = judged(item, complete, prompts, model)
                with writing:
                    keep(judgement)
                results.put(judgement)
            except Failed as error:
                results.put(Unanswered(item, str(error)))
            except Exception as error:
                results.put(error)
                return

    for _ in range(min(concurrency, len(pending))):
        threading.Thread(target=work, daemon=True).start()  # daemon: Ctrl-C waits for no reply
    failed = 0
    for _ in pending:
        result = results.get()
        if isinstance(result, Exception):
            raise result
        failed = failed + 1 if isinstance(result, Unanswered) else 0
        yield result
        if isinstance(result, Unanswered) and failed >= GIVEN_UP_AFTER:
            raise HostError(
                f"the judge answers no more: {failed} questions one after another failed, the last one: "
                f"{result.reason}",
                hint="What is judged is kept: run it again when the judge answers.",
            )
