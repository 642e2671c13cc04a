"""A verdict in what a judge replied: JSON, a Python dictionary, or a few plain words. What is none is said to be none.

Keys as in our prompt (`correct`, `score`) and in those of publications (`pred`, `score`).
"""

import ast
import json
import math
import re
from typing import NamedTuple

HIGHEST = 5

_THOUGHTS = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.IGNORECASE)
_OBJECT = re.compile(r"\{[^{}]*\}")
_PLAIN = re.compile(
    r"\W*(?:(?:correct|pred|verdict)\W+)?(yes|no)\b\W*(?:score\W*)?(?<!-)(\d(?:\.\d+)?)(?:\s*/\s*5|\s+out of 5)?\W*",
    re.IGNORECASE,
)
_LONGEST_OBJECT = 2000
_RIGHT = {"yes": True, "true": True, "no": False, "false": False}


class Verdict(NamedTuple):
    """What the judge holds of an answer."""

    is_right: bool
    score: float
    """0 to 5."""


def without_thoughts(text: str) -> str:
    """A reply without what a model thought before it, where it shows that.

    >>> without_thoughts("<think>A dog or a cat?</think>\\nA dog.")
    'A dog.'
    """
    return _THOUGHTS.sub("", text).strip()


def verdict_in(text: str) -> Verdict | str:
    """The verdict of a reply; or why there is none.

    >>> verdict_in('{"correct": "yes", "score": 4}'), verdict_in("{'pred': 'no', 'score': 1.5}")
    (Verdict(is_right=True, score=4.0), Verdict(is_right=False, score=1.5))
    >>> verdict_in("Yes, score: 4/5."), verdict_in("It may be.")
    (Verdict(is_right=True, score=4.0), 'holds no verdict')
    """
    text = without_thoughts(text)
    if not text:
        return "is empty"
    if "{" not in text and (plain := _PLAIN.fullmatch(text)) is not None:
        return _verdict(plain[1], plain[2])
    found = [_of_object(each) for each in _OBJECT.findall(text)]
    verdicts = [each for each in found if isinstance(each, Verdict)]
    if len({*verdicts}) > 1:
        return "holds verdicts that differ"
    return next(iter([*verdicts, *(each for each in found if each)]), "holds no verdict")


def _of_object(text: str) -> Verdict | str | None:
    """None: it is no object that speaks of a verdict."""
    values = _parsed(text)
    if values is None:
        return None
    pred, score = (_first(values, names) for names in (("correct", "pred", "verdict"), ("score", "rating")))
    if pred is None and score is None:
        return None
    if pred is None or score is None:
        return "lacks yes or no" if pred is None else "lacks a score"
    return _verdict(pred, score)


def _parsed(text: str) -> dict[str, object] | None:
    for parse in (json.loads, ast.literal_eval):
        try:
            values = parse(text) if len(text) <= _LONGEST_OBJECT else None
        except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            continue
        if isinstance(values, dict):
            return {str(key).lower(): value for key, value in values.items()}
    return None


def _first(values: dict[str, object], names: tuple[str, ...]) -> object:
    return next((values[name] for name in names if values.get(name) is not None), None)


def _verdict(pred: object, score: object) -> Verdict | str:
    is_right = pred if isinstance(pred, bool) else _RIGHT.get(str(pred).strip().strip(".").lower())
    if is_right is None:
        return f"says neither yes nor no: {str(pred)[:40]!r}"
    try:
        number = math.nan if isinstance(score, bool) else float(str(score))
    except ValueError:
        number = math.nan
    if not 0 <= number <= HIGHEST:
        return f"has no score from 0 to {HIGHEST}: {str(score)[:40]!r}"
    return Verdict(is_right, number)
