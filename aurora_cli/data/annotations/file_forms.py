"""How a file holds its records: a line each, or one array. What holds them otherwise is named, in one sentence.

A file is judged by its beginning, before a record of it is read: a table, one JSON object around all records, or
records over several lines each would otherwise be rejected line by line.
"""

import contextlib
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple, NoReturn, cast

from aurora_cli.data.annotations.keys import looks_like
from aurora_cli.data.annotations.remedies import remedy
from aurora_cli.data.annotations.schemas import SIGNS
from aurora_cli.errors import DataError

FileForm = Literal["lines", "array"]

BOM = b"\xef\xbb\xbf"
ROW_SUFFIXES = (".jsonl", ".jsonlines", ".ndjson")
"""Names of files that have a record a line."""
HEAD = 1 << 20
"""Bytes of a file that are looked at."""
LINES = 100
"""Lines of it that are looked at where the first is not JSON."""
LONGEST_LINE = 64 << 20
"""Bytes of a first line that is looked at as a whole: a record may be long, an object around all records is longer."""

OTHERS = (
    (re.compile(rb"\xff\xfe|\xfe\xff"), "is text in UTF-16; UTF-8 was expected", "UTF-16"),
    (re.compile(rb"[\[{]\0"), "is text in UTF-16; UTF-8 was expected", "UTF-16LE"),
    (re.compile(rb"\0[\[{]"), "is text in UTF-16; UTF-8 was expected", "UTF-16BE"),
    (re.compile(rb"version https://git-lfs"), "is a pointer of Git LFS, not the file itself", "fetch"),
    (re.compile(rb"\s*<(!doctype|html|\?xml)", re.IGNORECASE), "is a web page, not what was to be fetched", "fetch"),
    (re.compile(rb"PAR1"), "is a Parquet table by its content", "import"),
    (re.compile(rb"ARROW1|\xff\xff\xff\xff"), "is an Arrow table by its content", "records"),
    (re.compile(rb"PK\x03\x04"), "is a zip archive by its content", "unpack"),
    (re.compile(rb"\x28\xb5\x2f\xfd"), "is compressed by zstd; plain text or .gz was expected", "zstd"),
    (re.compile(rb"\x1f\x8b"), "is compressed by gzip, and its name does not end in .gz", "gz"),
)
"""What a file's first bytes say that it is, and which help there is."""

CAPTION_KEYS = frozenset({"media", "caption", "made_by"})
"""Of a line that `aurora caption --output` wrote."""

KEY = re.compile(rb'^[ \t]{0,8}"((?:[^"\\]|\\.){1,40})"[ \t]*:', re.MULTILINE)


class _Head(NamedTuple):
    """The beginning of a file, unzipped, without a byte order mark and blanks in front."""

    raw: bytes
    body: bytes
    is_whole: bool
    """Whether there is no more of it."""

    @property
    def first_line(self) -> bytes:
        return self.body.split(b"\n", 1)[0]

    @property
    def rest(self) -> bytes:
        return self.body[len(self.first_line) :].strip()


@contextlib.contextmanager
def decompressed(path: Path, file: IO[bytes]) -> Iterator[IO[bytes]]:
    """The content of an open file, unzipped if its name says so."""
    if path.name.endswith(".gz"):
        from isal.igzip import IGzipFile

        with IGzipFile(fileobj=file, mode="rb") as stream:
            yield cast(IO[bytes], stream)
    else:
        yield file


def form_of(path: Path) -> FileForm:
    """How a file holds its records.

    Raises:
        DataError: it does not hold a record a line, nor an array of records; the message says what it is.
        OSError: it cannot be opened.
    """
    head = _head_of(path)
    for sign, what, help_for in OTHERS:
        if sign.match(head.raw):
            _refuse(path, what, help_for)
    if head.body.startswith(b"["):
        return _array_or_lines(path, head)
    if head.body.startswith(b"{"):
        _check_objects(path, head)
    elif _is_text(head):
        first = head.first_line[:40].decode("utf-8", "replace").strip()
        _refuse(path, f"is text that begins with {first!r}; a JSON record a line was expected", "records")
    return "lines"


def check_captions(path: Path) -> None:
    """
    Raises:
        DataError: the file is one of `aurora caption --output`, which asks nothing.
        OSError: it cannot be opened.
    """
    first = _parsed(_head_of(path).first_line)
    if isinstance(first, dict) and first.keys() >= CAPTION_KEYS:
        _refuse(path, "holds captions of `aurora caption`; records with conversations were expected", "import")


def _is_text(head: _Head) -> bool:
    """Whether it has several lines, and none of them begins as JSON does: a table, YAML, a log."""
    found = [line for line in head.body.split(b"\n")[:LINES] if line.strip()]
    return len(found) > 1 and not any(line.lstrip()[:1] in (b"{", b"[", b'"') or _parsed(line) for line in found)


def _head_of(path: Path) -> _Head:
    """As much of it as can be read: what is damaged shows when records are read."""
    raw = b""
    with (
        open(path, "rb") as file,
        decompressed(path, file) as stream,
        contextlib.suppress(EOFError, zlib.error, OSError),
    ):
        while len(raw) < HEAD and (piece := stream.read(min(HEAD, 1 << 16))):
            raw += piece
        if not _is_array(path, raw):  # many write a whole array on one line, of which nothing else is asked
            while b"\n" not in raw.strip() and len(raw) < LONGEST_LINE and (piece := stream.read(HEAD)):
                raw += piece
        return _head(raw, is_whole=len(raw) < HEAD or not stream.read(1))
    return _head(raw, is_whole=False)


def _head(raw: bytes, *, is_whole: bool) -> _Head:
    return _Head(raw, raw.removeprefix(BOM).lstrip(), is_whole)


def _is_array(path: Path, raw: bytes) -> bool:
    return path.name.removesuffix(".gz").endswith(".json") and raw.removeprefix(BOM).lstrip().startswith(b"[")


def _array_or_lines(path: Path, head: _Head) -> FileForm:
    """An array in a `.json`. A `.jsonl` that is one is refused; a list on each of its lines are bad records."""
    if _is_array(path, head.raw):
        return "array"
    is_of_objects = head.body[1:].lstrip().startswith(b"{")
    if is_of_objects and not (_parsed(head.first_line) is not None and head.rest.startswith(b"[")):
        _refuse(path, "holds one array of records, where a .jsonl has a record a line", "array")
    return "lines"


def _check_objects(path: Path, head: _Head) -> None:
    """
    Raises:
        DataError: there is one object around all records, or a record goes over several lines.
    """
    first = _parsed(head.first_line)
    if isinstance(first, dict):
        is_row = path.name.removesuffix(".gz").endswith(ROW_SUFFIXES) and _names_medium(first)
        if head.is_whole and not head.rest and not is_row and not _is_record(first):
            _refuse_object(path, first)
        return
    if not head.rest:
        if len(head.first_line) >= LONGEST_LINE:
            _refuse(path, "is one JSON object on one line, around all records", "records")
        return
    if isinstance(_parsed(head.first_line.rstrip().removesuffix(b",")), dict):
        _refuse(path, "has a comma after each record; a record a line, and nothing else, was expected", "commas")
    if isinstance(_parsed(head.rest.split(b"\n", 1)[0]), dict):
        return  # a record a line, the first of them damaged
    try:
        value, end = json.JSONDecoder().raw_decode(head.body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        if head.first_line.rstrip().endswith((b"{", b"[", b",")):
            _refuse_keys(path, head)
        return
    if _is_record(value):
        several = bool(head.body.decode("utf-8", "replace")[end:].strip(" \t\r\n,"))
        _refuse(path, "holds records over several lines each; one line each was expected", "many" if several else "one")
    _refuse_object(path, value)


def _parsed(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _is_record(value: Mapping[str, Any]) -> bool:
    """Whether an object is a record, or may be a bad one, and nothing that holds records."""
    if any(sign in value for sign in SIGNS):
        return True
    return not _lists_in(value) and not _is_by_id(value)


def _names_medium(value: Mapping[str, Any]) -> bool:
    """Whether an object is about one image or video, so the only row of its file."""
    return any(isinstance(inner, str) and looks_like(name) == "medium" for name, inner in value.items())


def _has(entries: Any, *keys: str) -> bool:
    """Whether the first of the entries of an object has these keys."""
    first = next(iter(entries.values()), None) if isinstance(entries, dict) else None
    return isinstance(first, dict) and set(keys) <= first.keys()


def _lists_in(value: Mapping[str, Any]) -> list[str]:
    """Under which keys there are lists of objects."""
    return [key for key, inner in value.items() if isinstance(inner, list) and inner and isinstance(inner[0], dict)]


def _is_by_id(value: Mapping[str, Any]) -> bool:
    return len(value) > 0 and all(isinstance(inner, dict) for inner in value.values())


def _refuse_object(path: Path, value: Mapping[str, Any]) -> NoReturn:
    """Name the one object that a file is."""
    lists = _lists_in(value)
    if {"images", "annotations"} <= value.keys():
        _refuse(path, "is one JSON object with `images` and `annotations`, as COCO's; records were expected", "import")
    if {"videos", "sentences"} <= value.keys() or _has(value.get("database"), "annotations"):
        _refuse(path, "is one JSON object of captions and their videos; records were expected", "import")
    if len(lists) == 1:
        _refuse(
            path, f"is one JSON object with its records under `{lists[0]}`; an array of them was expected", lists[0]
        )
    if _is_by_id(value):
        first = next(iter(value))
        what = f"is one JSON object with an entry for each id (`{first[:40]}`), as ActivityNet's; records were expected"
        _refuse(path, what, "import" if _has(value, "timestamps", "sentences") else "by id")
    named = ", ".join(f"`{key[:40]}`" for key in [*value][:6])
    _refuse(path, f"is one JSON object with {named}; a record a line or an array of records was expected", "records")


def _refuse_keys(path: Path, head: _Head) -> NoReturn:
    """Name an object that goes over more lines than are looked at, or is damaged, by its first keys."""
    keys = [key.decode("utf-8", "replace") for key in dict.fromkeys(KEY.findall(head.body))][:6]
    if any(sign in keys for sign in SIGNS):
        _refuse(path, "holds records over several lines each; one line each was expected", "many")
    named = " with " + ", ".join(f"`{key}`" for key in keys) if keys else ""
    _refuse(path, f"is one JSON object over many lines{named}; records were expected", "records")


def _refuse(path: Path, what: str, help_for: str) -> NoReturn:
    raise DataError(f"{path}: {what}", hint=remedy(path, help_for))
