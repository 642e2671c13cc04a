"""Dense captions: a video's sentences with their times (ActivityNet Captions), or its segments (YouCook2).

A record for each sentence: `span` is its part of the video. A part that ends behind the video is cut to it.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from aurora_cli.console import Advance
from aurora_cli.data.annotations.records import Rejection, Span, decode_json, shortened
from aurora_cli.data.annotations.spans import checked, pair_in, seconds
from aurora_cli.data.importing.format import ImportFormat, Opened, Options, Rows
from aurora_cli.data.importing.item import Item, Refused
from aurora_cli.data.importing.json_text import Entry, entries_in, has_keys, head_of
from aurora_cli.errors import DataError
from aurora_cli.io.json_files import JsonObject


class _Video(NamedTuple):
    """What an entry says of a video."""

    name: str
    line: int
    value: JsonObject
    folder: str
    """YouCook2's: the folder that the video is published in; else nothing."""


def suits(source: Path) -> bool:
    """By the keys of an object's first entries."""
    head = head_of(source)
    if not head.startswith("{"):
        return False
    return has_keys(head, "timestamps", "sentences") or has_keys(head, "database", "segment", "sentence")


def open_dense(source: Path, options: Options) -> Opened:
    """
    Raises:
        DataError: it is no JSON object.
    """
    if not head_of(source).startswith("{"):
        raise DataError(f"{source}: is no JSON object; one with an entry a video was expected")

    def rows(advance: Advance) -> Rows:
        return dense_rows(source, advance)

    return Opened((source,), source.parent, ("sentences with their times, a record for each part of a video",), rows)


def dense_rows(source: Path, advance: Advance) -> Rows:
    """The sentences of every video."""
    line = 0
    for entry in entries_in(source, advance):
        if entry.key == "database" and entry.number is None:
            try:
                videos = entry.load()
            except Rejection as rejection:
                yield Refused(source.name, 1, entry.key, rejection.reason, rejection.detail)
                continue
            for name, value in videos.items():
                line += 1
                yield from _rows_of(source, _video(name, line, value))
        elif entry.number is None:
            line += 1
            yield from _entry_rows(source, entry, line)
        elif not entry.text:
            yield Refused(source.name, entry.number, entry.key, "bad_json", "the file breaks off")


def _entry_rows(source: Path, entry: Entry, line: int) -> Iterator[Item | Refused]:
    if entry.key and entry.text[:1] not in ("{", ""):
        return  # "version": "VERSION 1.3"
    try:
        value = decode_json(entry.text.encode("utf-8", "surrogateescape"))
    except Rejection as rejection:
        yield Refused(source.name, line, entry.key or source.name, rejection.reason, rejection.detail)
        return
    yield from _rows_of(source, _video(entry.key, line, value))


def _video(name: str, line: int, value: Any) -> _Video:
    value = value if isinstance(value, dict) else {}
    steps = [str(value[key]) for key in ("subset", "recipe_type") if isinstance(value.get(key), str | int)]
    return _Video(name, line, value, "/".join(steps) if len(steps) == 2 else "")


def _rows_of(source: Path, video: _Video) -> Iterator[Item | Refused]:
    """A row for each sentence; one that says what is wrong, where there is none."""
    value = video.value
    segments = value.get("annotations")
    if isinstance(segments, list):
        pairs = [
            (one.get("segment"), one.get("sentence")) if isinstance(one, dict) else (None, None) for one in segments
        ]
    else:
        times, sentences = value.get("timestamps"), value.get("sentences")
        if not isinstance(times, list) or not isinstance(sentences, list):
            yield Refused(source.name, video.line, video.name, "no_caption", "no timestamps, or no sentences")
            return
        if len(times) != len(sentences):
            detail = f"{len(times)} timestamps, {len(sentences)} sentences"
            yield Refused(source.name, video.line, video.name, "bad_span", detail)
            return
        pairs = list(zip(times, sentences, strict=True))
    if not pairs:
        yield Refused(source.name, video.line, video.name, "no_caption", "it has no sentences")
    duration = value.get("duration")
    for number, (times, sentence) in enumerate(pairs):
        name = f"{video.name}#{number}"
        try:
            span = span_of(times, duration)
            if not isinstance(sentence, str) or not sentence.strip():
                raise Rejection("no_caption", shortened(sentence))
        except Rejection as rejection:
            yield Refused(source.name, video.line, name, rejection.reason, rejection.detail)
            continue
        path = f"{video.folder}/{video.name}" if video.folder else video.name
        yield Item(source.name, video.line, name, (path,), "video", sentence.strip(), span, other=video.name)


def span_of(times: object, duration: object) -> Span:
    """A part of a video, cut to its length.

    >>> span_of([1, 99.0], 20.5)
    (1.0, 20.5)

    Raises:
        Rejection: it is none, or lies behind the video.
    """
    pair = pair_in(times)
    if pair is None:
        raise Rejection("bad_span", shortened(times))
    start, end = seconds(pair[0], "start"), seconds(pair[1], "end")
    if isinstance(duration, int | float) and not isinstance(duration, bool) and 0 < duration < end:
        if start >= duration:
            raise Rejection("bad_span", f"from {start:g} s, and the video has {duration:g} s")
        end = float(duration)
    return checked(start, end)


FORMAT = ImportFormat(
    "dense", "a .json with an entry a video: `timestamps` and `sentences`, or segments", suits, open_dense, rank=31
)
