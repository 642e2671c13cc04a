"""What a language model's judgement of captions came to, as it is written and shown."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from aurora_cli.evaluation.judge.questions import in_order

LISTED = 3
"""Questions of a kind that are shown."""


@dataclass(frozen=True)
class Unmarked:
    """A question that has no verdict, and so no part in a score."""

    id: str
    question: str
    reason: str


@dataclass(frozen=True)
class Judged:
    """What the judge was asked, and what it cost."""

    model: str
    prompts: str
    """Their sha256."""
    questions: int
    """Of the media that are captioned."""
    scored: int
    """Those with a verdict."""
    by_category: Mapping[str, int]
    """Questions with a verdict."""
    unparseable: tuple[Unmarked, ...]
    """The judge replied, and no verdict is in it."""
    failed: tuple[Unmarked, ...]
    """A request failed for good: the same command makes it again."""
    requests: int
    """Of all judgements, also those of earlier runs."""
    prompt_tokens: int
    completion_tokens: int
    uncounted: int
    """Requests whose tokens the server did not count."""

    def __add__(self, other: "Judged") -> "Judged":
        """That of both, of one judge."""
        categories = {*self.by_category, *other.by_category}
        summed = ("questions", "scored", "requests", "prompt_tokens", "completion_tokens", "uncounted")
        return replace(
            self,
            by_category={
                name: self.by_category.get(name, 0) + other.by_category.get(name, 0) for name in in_order(categories)
            },
            unparseable=(*self.unparseable, *other.unparseable),
            failed=(*self.failed, *other.failed),
            **{name: getattr(self, name) + getattr(other, name) for name in summed},
        )

    def lines(self) -> list[str]:
        """What a person reads of it."""
        counted = f"{self.prompt_tokens:,} tokens read and {self.completion_tokens:,} written in {self.requests:,}"
        unknown = f", {self.uncounted:,} of them not counted by the server" if self.uncounted else ""
        lines = [f"{self.scored:,} of {self.questions:,} questions judged by {self.model}; {counted} requests{unknown}"]
        for found, what in (
            (self.unparseable, "replies hold no verdict, and are no part of a score"),
            (self.failed, "questions failed; the same command asks them again"),
        ):
            if found:
                lines.append(f"{len(found):,} {what}:")
                lines += [f"  {each.id}: {each.question} ({each.reason})" for each in found[:LISTED]]
        return lines
