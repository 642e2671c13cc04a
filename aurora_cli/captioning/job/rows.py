"""A list of media to caption: a file with a row each, of which any number may lie in it. It is read as it is captioned.

A row is an object of a `.jsonl`, a line of a `.csv` or `.tsv`, or a row of a `.parquet`: `media`, and if it likes `id`,
`span` and `prompt`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from aurora_cli.captioning.job.output import CaptionKey
from aurora_cli.captioning.job.row_media import RowMedia
from aurora_cli.captioning.job.row_values import ALL, Value, check_lines, columns_of, values_of
from aurora_cli.captioning.result import Uncaptioned, part_of
from aurora_cli.config.share import Share
from aurora_cli.data.annotations.keys import Key, KeyCounts, KeyTable, Reading
from aurora_cli.data.annotations.records import Rejection, Span, shortened
from aurora_cli.data.annotations.spans import part_in, span_in
from aurora_cli.data.media.listing import Medium
from aurora_cli.data.tokenization.prompt import check_prompt
from aurora_cli.errors import DataError, UsageError

SUFFIXES = (".jsonl", ".jsonl.gz", ".csv", ".tsv", ".parquet")

KEYS = KeyTable(
    Key(("media", "id", "prompt"), "read", "the medium, its name in the output, the question about it"),
    Key(("image", "video"), "warned of", "`media` is read"),
)


class Row(NamedTuple):
    """A row that can be captioned."""

    line: int
    """Of the list, from 1; in the order of the rows."""
    medium: Medium
    id: str | int | None
    span: Span | None
    prompt: str | None

    @property
    def key(self) -> CaptionKey:
        """As `key_of` its caption."""
        return self.medium.name, self.id, part_of(self.span), self.prompt


def row_of(medium: Medium, span: Span | None = None, number: int = 0) -> Row:
    """A medium, or a part of a video, that no list has; the `number`-th that is named."""
    return Row(number, medium, None, span, None)


class RowReader:
    """The rows of a file, or of a share of them, in order, and what was met on the way."""

    def __init__(self, path: Path, root: Path, *, allow_remote: bool = False, share: Share = ALL) -> None:
        """`root`: where media lie that do not lie beside the file.

        Raises:
            UsageError: the file is of no kind that is read, or has no column `media`.
            DataError: it is not there, or holds something else than its name says.
        """
        self.path = path
        self._share = share
        self.total = 0
        """Rows of all shares, so far."""
        self._media = RowMedia(path.parent, root, allow_remote=allow_remote)
        self.keys = KeyCounts()
        """Keys that look as if they mattered, and were not read."""
        if not path.name.lower().endswith(SUFFIXES):
            raise UsageError(f"{path}: {', '.join(SUFFIXES)} are read as lists of media")
        if not path.is_file():
            raise DataError(f"{path}: there is no such file")
        if ".jsonl" in path.name.lower():
            check_lines(path)
        elif "media" not in (columns := columns_of(path)):
            raise UsageError(
                f"{path}: has the columns {', '.join(columns) or '(none)'}; one called `media` was expected",
                hint="Name the column of the images and videos `media`.",
            )

    def count(self) -> int:
        """How many rows there are."""
        return sum(value is not None for _, value in values_of(self.path, self._share))

    def __iter__(self) -> Iterator[Row | Uncaptioned]:
        """Each row, or why it is none."""
        self.total = 0
        for line, value in values_of(self.path, self._share):
            self.total += 1
            if value is None:
                continue
            try:
                yield self._row(line, value)
            except Rejection as rejection:
                detail = rejection.detail or rejection.reason
                media, row_id = _writable(_media_of(value)), _id_of(value)
                row_id = _writable(row_id) if isinstance(row_id, str) else row_id
                yield Uncaptioned(media, detail, row_id, file=str(self.path), line=line)

    def _row(self, line: int, value: Value | Rejection) -> Row:
        if isinstance(value, Rejection):
            raise value
        reading = Reading()
        medium, span_inside = self._media.find(value.get("media"), reading)
        prompt = value.get("prompt")
        if prompt is not None and not isinstance(prompt, str):
            raise Rejection("bad_text", f"prompt: it is {shortened(prompt)}; a text was expected")
        prompt = prompt if prompt and prompt.strip() else None
        if any(_writable(text) != text for text in (medium.name, prompt or "", str(value.get("id", "")))):
            raise Rejection("bad_unicode", "its text is not UTF-8, or holds half of a surrogate pair")
        span = span_in(value, reading) or span_inside
        if "span" in reading.unread:
            raise Rejection("bad_span", f"span: it is {shortened(value['span'])}; [from, to] in seconds was expected")
        unread = [each for each in KEYS.unread(value) if part_in(each) is None]
        self.keys.add((), sorted({*unread, *reading.unread}))
        try:
            if prompt is not None:
                check_prompt(prompt)
            return Row(line, medium, _id_of(value), span, prompt)
        except UsageError as error:
            raise Rejection("bad_text", error.message) from error


def _id_of(value: Value | Rejection) -> str | int | None:
    """As it was written, so that captions are joined to their rows by it."""
    given = None if isinstance(value, Rejection) else value.get("id")
    return given if given is None or isinstance(given, str | int) else str(given)


def _writable(text: str) -> str:
    """A text as a file in UTF-8 can hold it."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _media_of(value: Value | Rejection) -> str:
    given = "" if isinstance(value, Rejection) else value.get("media", "")
    return given if isinstance(given, str) else ""
