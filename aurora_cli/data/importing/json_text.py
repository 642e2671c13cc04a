"""One JSON object around all rows, read entry by entry: `{"images": [...], "annotations": [...]}`, or an entry an id.

Memory is that of one entry. What is damaged harms its entry only, and is handed on as it is.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from aurora_cli.console import Advance
from aurora_cli.data.annotations.file_forms import BOM, decompressed
from aurora_cli.data.annotations.files import ArrayText
from aurora_cli.data.annotations.records import Rejection, decode_json
from aurora_cli.io.json_files import JsonObject

HEAD = 1 << 18
JSON_SUFFIXES = (".json", ".jsonl", ".jsonlines", ".ndjson")


class Entry(NamedTuple):
    """A value at the top of an object, or an element of a list there."""

    key: str
    number: int | None
    """Of the element, from 1; none: it is the value itself."""
    text: str

    def load(self) -> JsonObject:
        """The object that it is.

        Raises:
            Rejection: it is none.
        """
        return decode_json(self.text.encode("utf-8", "surrogateescape"))


class ObjectText(ArrayText):
    """A window on the text of a JSON object, that grows as long as an entry is not complete."""

    def begin(self) -> None:
        """Move into the object."""
        self._skip(" \t\r\n\ufeff{")

    def entries(self) -> Iterator[Entry]:
        """Every entry; of a list every element, of an empty one itself, as number 0. One that does not end is the last,
        without text."""
        while self._skip(" \t\r\n,") and not self.window.startswith("}", self.at):
            try:
                key = json.loads(self.take())
            except ValueError:
                key = None
            if not isinstance(key, str) or not self._skip(" \t\r\n:"):
                yield Entry("", None, "")
                return
            if not self.window.startswith("[", self.at):
                yield Entry(key, None, self.take())
                continue
            self.at += 1
            number = 0
            while self.to_next():
                number += 1
                yield Entry(key, number, self.take())
            if not self.closed:
                yield Entry(key, number + 1, "")
                return
            self.at += 1
            if not number:
                yield Entry(key, 0, "[]")

    def _skip(self, blanks: str) -> bool:
        """Move on to what is none of these; False: there is nothing else."""
        while True:
            while self.at < len(self.window) and self.window[self.at] in blanks:
                self.at += 1
            if self.at < len(self.window) or self.ended:
                return self.at < len(self.window)
            self.read()


def entries_in(path: Path, advance: Advance, *, empty_lists: bool = False) -> Iterator[Entry]:
    """The entries of the object in a file; those of lists without elements where they are wanted."""
    with open(path, "rb") as file, decompressed(path, file) as stream:
        done = 0
        for number, entry in enumerate(ObjectText(stream).entries()):
            if number % 256 == 0:
                advance((now := file.tell()) - done)
                done = now
            if empty_lists or entry.number != 0:
                yield entry


def head_of(path: Path) -> str:
    """The beginning of a JSON file, without blanks in front; nothing: it is no JSON by its name or its beginning."""
    if not path.is_file() or not path.name.removesuffix(".gz").endswith(JSON_SUFFIXES):
        return ""
    try:
        with open(path, "rb") as file, decompressed(path, file) as stream:
            head = stream.read(HEAD).removeprefix(BOM).lstrip()
    except (OSError, EOFError):
        return ""
    return head.decode("utf-8", "replace") if head[:1] in (b"{", b"[") else ""


def has_keys(head: str, *keys: str) -> bool:
    """Whether all of these are keys in a beginning."""
    return all(f'"{key}"' in head for key in keys)


def text_under(value: JsonObject, key: str) -> str:
    """The text that an object has under a key.

    Raises:
        Rejection: there is none, or one without words.
    """
    text = value.get(key)
    if not isinstance(text, str) or not text.strip():
        raise Rejection("no_caption", f"{key} is {text!r}"[:80])
    return text.strip()
