"""Annotation files as streams of raw records: `.jsonl`, arrays in `.json`, either of them gzipped. Memory stays flat.

A record is handed on as bytes, unparsed, so that a damaged one harms only itself and parsing can happen elsewhere.
"""

import contextlib
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

from aurora_cli.constants import REJECTS_FILE
from aurora_cli.data.annotations.file_forms import BOM, check_captions, decompressed, form_of
from aurora_cli.errors import DataError, reason_of

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz")
READ_SIZE = 1 << 20
MAX_ELEMENT = 64 << 20
"""Characters after which an array's element that does not end is given up."""

REPORTED_EVERY = 64
"""Records between two reports of progress."""

NEXT_ELEMENT = re.compile(r"\}\s*,\s*(?=\{)")


class RawRecord(NamedTuple):
    """A record as its file holds it, unparsed."""

    line: int
    """From 1: the line in the file, or the element in an array."""
    raw: bytes


def is_annotation_file(path: Path) -> bool:
    """Whether a file is annotations, by its name: not what a step wrote about its own work."""
    return path.name.endswith(SUFFIXES) and path.name != REJECTS_FILE and not path.name.startswith(".")


def raw_records(path: Path, advance: Callable[[int], None] = lambda amount: None) -> Iterator[RawRecord]:
    """Every record of a file, in order. `advance` gets the numbers of bytes of the file as they are read.

    Empty lines are no records, but are counted in `line`.

    Raises:
        DataError: the file holds no records, or cannot be read, or its compression is damaged, after the records before
            the damage.
    """
    line = 0
    try:
        form = form_of(path)
        with open(path, "rb") as file, decompressed(path, file) as stream:
            records = array_elements(stream) if form == "array" else lines(stream)
            size = os.fstat(file.fileno()).st_size
            reported = 0
            for number, record in enumerate(records, start=1):
                line = record.line
                yield record
                if number % REPORTED_EVERY == 0:
                    position = min(file.tell(), size)
                    advance(position - reported)
                    reported = position
            advance(size - reported)
    except (EOFError, zlib.error, OSError) as error:
        after = f" after record {line}" if line else ""
        raise DataError(
            f"{path}: cannot be read{after}: {reason_of(error)}",
            hint="Fetch it again: aurora download --verify",
        ) from error


def check_form(path: Path) -> None:
    """
    Raises:
        DataError: the file does not hold records, or not so that they are read; the message says what it holds.
    """
    with contextlib.suppress(OSError):  # shows when it is read
        form_of(path)


def check_records(path: Path) -> None:
    """
    Raises:
        DataError: as `check_form`; or the file holds captions of `aurora caption`.
    """
    with contextlib.suppress(OSError):
        check_captions(path)
    check_form(path)


def lines(stream: IO[bytes]) -> Iterator[RawRecord]:
    """The lines of a stream that are not empty, stripped; a byte order mark at the beginning is none of it."""
    for number, raw in enumerate(stream, start=1):
        if number == 1:
            raw = raw.removeprefix(BOM)
        if stripped := raw.strip():
            yield RawRecord(number, stripped)


def array_elements(stream: IO[bytes]) -> Iterator[RawRecord]:
    """The elements of a JSON array. One that is not JSON is handed on as it is, up to where the next seems to begin.

    Of an array that does not end, the last element is empty: a record to reject, so that the loss shows.
    """
    text = ArrayText(stream)
    number = 0
    while text.to_next():
        number += 1
        # Invalid bytes came in as surrogates and become the same bytes again, for the record's own parser to reject.
        yield RawRecord(number, text.take().encode("utf-8", "surrogateescape"))
    if not text.closed:
        yield RawRecord(number + 1, b"")


class ArrayText:
    """A window on the text of a JSON array, that grows as long as an element is not complete."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.stream = stream
        self.decoder = json.JSONDecoder()
        self.window = ""
        self.at = 0
        self.tail = b""
        self.ended = False
        self.begin()

    def begin(self) -> None:
        """Move into the array."""
        while "[" not in self.window and not self.ended:
            self.read()
        self.at = self.window.find("[") + 1

    def read(self) -> None:
        """Drop what is taken, and make the rest at least twice as long: trying again and again stays linear."""
        self.window = self.window[self.at :]
        self.at = 0
        wanted = max(READ_SIZE, len(self.window))
        data = self.stream.read(wanted)
        self.ended = len(data) < wanted
        data = self.tail + data
        cut = len(data) if self.ended else complete_utf8(data)
        self.tail = data[cut:]
        self.window += data[:cut].decode("utf-8", "surrogateescape")

    @property
    def closed(self) -> bool:
        """Whether the array's end is next."""
        return self.window.startswith("]", self.at)

    @property
    def may_grow(self) -> bool:
        """Whether more of the stream may complete the element at hand."""
        return not self.ended and len(self.window) - self.at < MAX_ELEMENT

    def to_next(self) -> bool:
        """Move to the next element; False at the array's end."""
        while True:
            while self.at < len(self.window) and self.window[self.at] in " \t\r\n,":
                self.at += 1
            if self.at < len(self.window) or self.ended:
                return self.at < len(self.window) and not self.closed
            self.read()

    def take(self) -> str:
        """The text of the next element."""
        while True:
            end = self.end_of_element()
            # What reaches the window's end may go on in what is not read yet.
            if end < len(self.window) or not self.may_grow:
                element = self.window[self.at : end]
                self.at = end
                return element
            self.read()

    def end_of_element(self) -> int:
        """Where the element ends, or seems to; the window's end if the window does not show it."""
        try:
            return self.decoder.raw_decode(self.window, self.at)[1]
        except json.JSONDecodeError as error:
            if error.msg.startswith("Unterminated string") and self.may_grow:
                return len(self.window)
            if error.pos > len(self.window) - 16 and self.may_grow:
                return len(self.window)
            wrong_at = error.pos
        except (ValueError, RecursionError):
            wrong_at = self.at
        found = NEXT_ELEMENT.search(self.window, max(self.at, wrong_at - 2))
        return found.start() + 1 if found else len(self.window)


def complete_utf8(data: bytes) -> int:
    """How many bytes of `data` do not belong to a character that is cut off at its end."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if length > back else len(data)
        if byte < 0x80:
            break
    return len(data)
