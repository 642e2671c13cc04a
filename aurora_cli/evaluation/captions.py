"""Captions that a model wrote: the lines of `aurora caption --output`, or anybody's JSONL or CSV of ids and texts."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from aurora_cli.constants import SETTINGS_SUFFIX
from aurora_cli.errors import DataError, reason_of
from aurora_cli.io.json_files import JsonObject, read_object

NAMES = ("id", "image_id", "video_id", "media", "image", "video", "file_name", "video_name")
"""Keys that say what a caption is about; the first of them that a row has is its name in reports."""

DEEPEST = 8
"""Folders of a path that two names of a medium may share."""

_SUFFIX = re.compile(r"(?<=.)\.\w{1,5}$", re.ASCII)
_PART = re.compile(r"@[\d.e+]+-[\d.e+]*$")
"""Behind the name of a medium, the times of a part of it: their fractions are no suffix."""

TEXTS = ("caption", "text", "prediction", "answer")


class CaptionOf(NamedTuple):
    """A caption, and all that it may be known by."""

    names: tuple[str, ...]
    """Of its medium; the first stands in reports."""
    text: str
    is_cut: bool | None = None
    """Whether the limit of tokens ended it; None: not known."""


class Unreadable(NamedTuple):
    """A line that gives no caption or no reference."""

    file: str
    line: int
    reason: str


class CaptionSet(NamedTuple):
    """The captions of a file, in its order."""

    captions: list[CaptionOf]
    unreadable: list[Unreadable]


def read_captions(path: Path) -> CaptionSet:
    """
    Raises:
        DataError: there is no such file, or no caption in it.
    """
    if not path.is_file():
        raise DataError(f"{path}: there is no such file of captions")
    limit = _token_limit(path)
    found = CaptionSet([], [])
    for line, row in rows_of(path):
        caption = row if isinstance(row, str) else caption_of(row, limit)
        if isinstance(caption, str):
            found.unreadable.append(Unreadable(path.name, line, caption))
        else:
            found.captions.append(caption)
    if not found.captions:
        reason = f": line {found.unreadable[0].line}: {found.unreadable[0].reason}" if found.unreadable else ""
        raise DataError(f"{path}: holds no caption{reason}", hint=f"A line is {{'id': ..., '{TEXTS[0]}': ...}}.")
    return found


def rows_of(path: Path) -> Iterator[tuple[int, JsonObject | str]]:
    """The objects of JSONL, of an array in JSON, or of CSV, with their lines; or why a line holds none.

    Raises:
        DataError: the file cannot be read as a whole.
    """
    try:
        if path.suffix.lower() in (".csv", ".tsv"):
            yield from _csv_rows(path)
        elif path.suffix.lower() == ".json":
            content = json.loads(path.read_text("utf-8-sig"))
            if not isinstance(content, list):
                raise DataError(f"{path}: holds a {type(content).__name__}; an array of objects was expected")
            for number, row in enumerate(content, 1):
                yield number, row if isinstance(row, dict) else "is no object"
        else:
            yield from _json_lines(path)
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"{path}: cannot be read: {reason_of(error)}") from error


def _json_lines(path: Path) -> Iterator[tuple[int, JsonObject | str]]:
    with open(path, "rb") as file:
        for number, raw in enumerate(file, 1):
            if not raw.strip():
                continue
            try:
                row = json.loads(raw.decode("utf-8-sig"))
            except (ValueError, RecursionError) as error:
                yield number, f"is no JSON: {error}"
                continue
            yield number, row if isinstance(row, dict) else "is no object"


def _csv_rows(path: Path) -> Iterator[tuple[int, JsonObject | str]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        for row in reader:
            yield reader.line_num, {key: value for key, value in row.items() if key is not None}


def names_in(row: JsonObject) -> tuple[str, ...]:
    """What a row is known by: its ids and media, and of paths the file's name and that without its suffix.

    >>> names_in({"id": 7, "media": "val/a.jpg"})
    ('7', 'val/a.jpg', 'a.jpg', 'a')
    """
    given, span = _given_in(row), row.get("span")
    if isinstance(span, list | tuple) and len(span) == 2:  # a part of a video is not the video
        given = {key: name if key == "id" else part_name(name, *span) for key, name in given.items()}
    return with_file_names([*given.values()])


def paths_in(row: JsonObject) -> tuple[str, ...]:
    """Where the medium of a row may lie, the likeliest first: its path, the ends of that, its ids.

    >>> paths_in({"id": 7, "media": "val/a.jpg", "span": [0, 1]})
    ('val/a.jpg', 'a.jpg', 'a', '7')
    """
    return tuple(dict.fromkeys(path for name in reversed(_given_in(row).values()) for path in with_file_names([name])))


def _given_in(row: JsonObject) -> dict[str, str]:
    return {key: str(row[key]) for key in NAMES if isinstance(row.get(key), str | int) and str(row[key]).strip()}


def part_name(medium: str, start: float, end: float | None) -> str:
    """What a part of a video is called.

    >>> part_name("a.mp4", 3.0, 7.5), part_name("a.mp4", 3.0, None)
    ('a.mp4@3-7.5', 'a.mp4@3-')
    """
    return f"{medium}@{start:g}-" + ("" if end is None or end == float("inf") else f"{end:g}")


def with_file_names(given: list[str]) -> tuple[str, ...]:
    """Names; then of those that are paths their ends, longest first, down to the file's name; then it without suffix.

    >>> with_file_names(["run/val/a.jpg"])
    ('run/val/a.jpg', 'val/a.jpg', 'a.jpg', 'a')
    """
    steps = [name.replace("\\", "/").strip("/").split("/")[-DEEPEST:] for name in given]
    ends = ["/".join(path[at:]) for path in steps for at in range(len(path))]
    stems = [_without_suffix(path[-1]) for path in steps]
    return tuple(dict.fromkeys([*given, *ends, *stems]))


def _without_suffix(name: str) -> str:
    """
    >>> _without_suffix("a.mp4@0.5-19.25"), _without_suffix("a@0.5-19.25"), _without_suffix("a.b.jpg")
    ('a@0.5-19.25', 'a@0.5-19.25', 'a.b')
    """
    part = _PART.search(name)
    end = len(name) if part is None else part.start()
    return _SUFFIX.sub("", name[:end]) + name[end:]


def caption_of(row: JsonObject, limit: int | None) -> CaptionOf | str:
    """The caption of a line, or why it has none; `limit`: tokens that it could have, where that is known."""
    names = names_in(row)
    if not names:
        return f"names nothing it is about; one of {', '.join(NAMES)} was expected"
    text = next((row[key] for key in TEXTS if isinstance(row.get(key), str)), None)
    if text is None:
        return f"has no text; one of {', '.join(TEXTS)} was expected"
    new = row.get("new_tokens")
    return CaptionOf(names, text, new >= limit if isinstance(new, int) and limit is not None else None)


def _token_limit(path: Path) -> int | None:
    """Tokens that a caption could have, by the settings that `aurora caption` leaves beside its output."""
    settings = path.with_name(f"{path.name}{SETTINGS_SUFFIX}")
    if not settings.is_file():
        return None
    decoding = read_object(settings).get("decoding")
    limit = decoding.get("max_new_tokens") if isinstance(decoding, dict) else None
    return limit if isinstance(limit, int) else None
