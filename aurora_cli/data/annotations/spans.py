"""The part of a video that a record is about: which keys say so, and the times in them."""

import math
import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Literal

from aurora_cli.data.annotations.keys import Reading, says_something, words_of
from aurora_cli.data.annotations.records import Rejection, Span, shortened

Part = Literal["start", "end", "both", "unread"]
"""What a key says of a span: where it begins, where it ends, both; or something that is not read, as frame numbers."""

STARTS, ENDS = frozenset({"start", "begin"}), frozenset({"end", "stop"})
BOTH = frozenset(
    {"span", "segment", "segments", "timestamp", "timestamps", "interval", "moment", "window", "trim", "cut"}
)
BESIDE = frozenset({"time", "times", "sec", "secs", "second", "seconds", "s", "t", "ts", "video", "clip", "temporal"})
OTHER_UNITS = frozenset({"frame", "frames", "index", "idx", "ms", "millis", "milliseconds", "pts"})
JOINED = {"starttime": "start", "endtime": "end"}

FROM_TO: dict[str, Part] = {"from": "start", "to": "end"}
"""Say a part when both are there and are times; else `from` may be anything."""
LENGTHS = frozenset({"duration", "dur"})

CLOCK = re.compile(r"(?:(\d+):)?(\d+):(\d+(?:[.,]\d+)?)|(\d+(?:\.\d+)?)\s*(?:s|secs?|seconds?)?")
BETWEEN = (re.compile(r"\s*(?:-->|-|\u2013|;|\bto\b)\s*"), re.compile(r"\s*,\s*"))
"""What stands between two times in a text; a comma may also be that of a fraction."""


@cache
def part_in(name: str) -> Part | None:
    """What a key says of a span, by its words.

    >>> [part_in(name) for name in ("start", "Start_timestamp", "endTime", "timestamps", "start_frame", "image")]
    ['start', 'start', 'end', 'both', 'unread', None]
    """
    words = {JOINED.get(word, word) for word in words_of(name)}
    parts: tuple[tuple[frozenset[str], Part], ...] = ((STARTS, "start"), (ENDS, "end"), (BOTH, "both"))
    for signs, part in parts:
        if words & signs:
            rest = words - BESIDE - STARTS - ENDS - BOTH
            return part if not rest else "unread" if rest <= OTHER_UNITS else None
    return None


def may_be_part(name: str) -> bool:
    """Whether `span_in` looks at a key."""
    return part_in(name) is not None or name in FROM_TO


def span_in(value: Mapping[str, object], reading: Reading, prefix: str = "", *, but: Sequence[str] = ()) -> Span | None:
    """The span of a video that the keys of an object give; `but` are keys that say other things.

    Raises:
        Rejection: it is none, or is given in a way that is not read.
    """
    starts, ends = [], []
    for name, given in value.items():
        if (part := part_in(name)) is None or name in but or not says_something(given):
            continue
        if part == "unread" or (part == "both" and is_several(given)):
            raise Rejection("unread_key", f"{name}: {shortened(given)}: no single span in seconds")
        if part == "both":
            pair = pair_in(given)
            if pair is None:
                reading.unread.add(prefix + name)
                continue
            starts += [seconds(one, name) for one in pair[:1] if one is not None]
            ends += [seconds(one, name) for one in pair[1:] if one is not None]
        else:
            (starts if part == "start" else ends).append(seconds(given, name))
        reading.read.add(prefix + name)
    if (pair := pair_in({name: value.get(name) for name in FROM_TO if name not in but})) and None not in pair:
        starts.append(seconds(pair[0], "from"))
        ends.append(seconds(pair[1], "to"))
        reading.read.update(prefix + name for name in FROM_TO)
    if not starts and not ends:
        return None
    if not ends:
        check_no_length(value)
    if len({*starts}) > 1 or len({*ends}) > 1:
        raise Rejection("bad_span", f"several: from {starts} to {ends}")
    return checked(starts[0] if starts else 0.0, ends[0] if ends else math.inf)


def checked(start: float, end: float) -> Span:
    """
    Raises:
        Rejection: the span is empty, or begins before the video.
    """
    if not 0 <= start < end:
        raise Rejection("bad_span", f"from {start:g} to {end:g} s")
    return start, end


def check_no_length(value: Mapping[str, object]) -> None:
    """
    Raises:
        Rejection: of a part that has no end a length is given, which may as well be the video's.
    """
    for name, given in value.items():
        if says_something(given) and words_of(name) & LENGTHS:
            raise Rejection("unread_key", f"{name}: {shortened(given)}: beside a start without an end; say the end")


def span_of(pair: tuple[object, object], name: str) -> Span:
    """The span between two times, of which none is the beginning or the end.

    Raises:
        Rejection: they are no times, or nothing lies between them.
    """
    start, end = pair
    return checked(0.0 if start is None else seconds(start, name), math.inf if end is None else seconds(end, name))


def pair_in(value: object) -> tuple[object, object] | None:
    """The two times of a list, a text or an object, or of the only one of these in a list; none: there are no two.

    One of them may be left open.

    >>> pair_in([[3, "0:05"]]), pair_in("0:03 - 0:08"), pair_in("[3, 8]"), pair_in({"start": 3}), pair_in("3")
    ((3, '0:05'), ('0:03', '0:08'), ('3', '8'), (3, None), None)
    """
    if isinstance(value, list) and len(value) == 1:
        return pair_in(value[0])
    if isinstance(value, str):
        inner = value.strip().strip("[]()").strip()
        value = next((times for sign in BETWEEN if len(times := sign.split(inner)) == 2), None)
    elif isinstance(value, Mapping):
        value = sides_of(value)
    if not isinstance(value, list) or len(value) != 2 or value == [None, None]:
        return None
    return (value[0], value[1]) if all(one is None or is_time(one) for one in value) else None


def sides_of(value: Mapping[str, object]) -> list[object] | None:
    """Start and end of an object that says nothing else; none: it says something else."""
    found: dict[str, object] = {}
    for name, one in value.items():
        side = FROM_TO.get(name) or part_in(name)
        if side not in ("start", "end") or side in found:
            return None
        found[side] = one
    return [found.get("start"), found.get("end")]


def is_several(value: object) -> bool:
    """Whether it is a list of several spans."""
    return isinstance(value, list) and len(value) > 1 and all(pair_in(one) is not None for one in value)


def is_time(value: object) -> bool:
    """Whether it is a number, or a text that is a time."""
    if isinstance(value, str):
        return CLOCK.fullmatch(value.strip()) is not None
    return isinstance(value, int | float) and not isinstance(value, bool)


def seconds(value: object, name: str) -> float:
    """A time in seconds: a number, or `[hours:]minutes:seconds`.

    >>> seconds(3, "start"), seconds("1:02.5", "start"), seconds("01:00:01,5", "start")
    (3.0, 62.5, 3601.5)

    Raises:
        Rejection: it is none.
    """
    if is_time(value) and (match := CLOCK.fullmatch(str(value).strip())):
        hours, minutes, rest, plain = match.groups()
        if plain is not None:
            return float(plain)
        clock_s = float(rest.replace(",", "."))
        if clock_s < 60 and (hours is None or int(minutes) < 60):
            return int(hours or 0) * 3600 + int(minutes) * 60 + clock_s
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise Rejection("bad_span", f"{name} is {shortened(value)}")
