"""A list of media to caption: a file with a row each, of which any number may lie in it. It is read as it is captioned.

A row is an object of a `.jsonl`, a line of a `.csv` or `.tsv`, or a row of a `.parquet`: `media`, and if it likes `id`,
`span` and `prompt`.
"""

import bisect
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from aurora_cli.captioning.job.caption_keys import DONE, NEW, NOT_PATHS, REPEATED, CaptionKeys
from aurora_cli.captioning.job.key_hashes import HASH, CaptionKey, hashes_of
from aurora_cli.captioning.job.row_media import RowMedia
from aurora_cli.captioning.job.row_values import RowBlock, Value, blocks_of, check_lines, columns_of
from aurora_cli.captioning.result import Uncaptioned, part_of
from aurora_cli.config.share import ALL, Share
from aurora_cli.data.annotations.keys import Key, KeyCounts, KeyTable, Reading, words_of
from aurora_cli.data.annotations.records import Rejection, Span, shortened
from aurora_cli.data.annotations.spans import LENGTHS, may_be_part, part_in, span_in
from aurora_cli.data.media.listing import Medium
from aurora_cli.data.media.remote.roots import Lookup
from aurora_cli.data.tokenization.prompt import check_prompt
from aurora_cli.errors import DataError, UsageError
from aurora_cli.io.prefetch import mapped_ahead
from aurora_cli.storage.errors import shown

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


@cache
def says_nothing(name: str) -> bool:
    """Whether a key of a row says nothing about what is captioned, whatever its value is.

    >>> [says_nothing(name) for name in ("width", "split", "start", "image", "duration")]
    [True, True, False, False, False]
    """
    return not (_is_unread(name) or may_be_part(name) or words_of(name) & LENGTHS)


@cache
def _is_unread(name: str) -> bool:
    try:
        return not may_be_part(name) and bool(KEYS.unread({name: 1}))
    except Rejection:
        return True


def row_of(medium: Medium, span: Span | None = None, number: int = 0) -> Row:
    """A medium, or a part of a video, that no list has; the `number`-th that is named."""
    return Row(number, medium, None, span, None)


class RowReader:
    """The rows of a file, or of a share of them, in order, and what was met on the way."""

    def __init__(
        self,
        path: Path,
        root: Path,
        *,
        allow_remote: bool = False,
        share: Share = ALL,
        lookups: Sequence[Lookup] = (),
        home: str | None = None,
    ) -> None:
        """`root`: where media lie that do not lie beside the file, nor in any of the `lookups`.

        `home`: the URL that the file is a copy of; what it names lies there.

        Raises:
            UsageError: the file is of no kind that is read, or has no column `media`.
            DataError: it is not there, or holds something else than its name says.
        """
        self.path = path
        self.name = str(path) if home is None else shown(home)
        """As messages have it."""
        self._share = share
        self.total = self.own = self.done = self.repeated = 0
        """Rows of all shares, so far; of this one; and of these, captioned before, and the same as an earlier one."""
        self._media = RowMedia(path.parent, root, allow_remote=allow_remote, lookups=lookups, home=home)
        self.keys = KeyCounts()
        """Keys that look as if they mattered, and were not read."""
        if not path.name.lower().endswith(SUFFIXES):
            raise UsageError(f"{self.name}: {', '.join(SUFFIXES)} are read as lists of media")
        if not path.is_file():
            raise DataError(f"{self.name}: there is no such file")
        if ".jsonl" in path.name.lower():
            check_lines(path)
        elif "media" not in (columns := columns_of(path)):
            raise UsageError(
                f"{self.name}: has the columns {', '.join(columns) or '(none)'}; one called `media` was expected",
                hint="Name the column of the images and videos `media`.",
            )

    def count(self) -> int:
        """How many rows there are."""
        return sum(len(block.lines) for block in blocks_of(self.path, self._share))

    def expected(self) -> int:
        """About how many rows there are, by the first of them; 0: that is not known."""
        first = next(blocks_of(self.path, self._share), None)
        return 0 if first is None else first.in_file // self._share.count

    def __iter__(self) -> Iterator[Row | Uncaptioned]:
        """Each row, or why it is none."""
        self.total = 0
        for block in blocks_of(self.path, self._share):
            self.total += block.total
            for index, line in enumerate(block.lines.tolist()):
                yield self._read(line, block.value(index))

    def unmarked(self, keys: CaptionKeys) -> Iterator[Row | Uncaptioned]:
        """Each row that is new, or why it is none; all rows are marked, and counted.

        What is captioned, and says no more than a row plainly does, is known by its columns alone.
        """
        self.total = self.own = self.done = self.repeated = 0
        for block, hashes, is_plain in mapped_ahead(_hashed, blocks_of(self.path, self._share)):
            self.total += block.total
            self.own += len(block.lines)
            yield from self._unmarked_of(block, hashes, is_plain, keys)

    def _unmarked_of(
        self, block: RowBlock, hashes: np.ndarray, is_marked: np.ndarray, keys: CaptionKeys
    ) -> Iterator[Row | Uncaptioned]:
        """`is_marked`: of which rows these are the hashes; of the others none is known yet."""
        states = np.full(len(block.lines), NEW)
        states[is_marked] = keys.mark(hashes[is_marked], block.lines[is_marked])
        self.done += int((states == DONE).sum())
        self.repeated += int((states == REPEATED).sum())
        left = np.flatnonzero(states == NEW).tolist()
        for index in left:  # grows, where the first of several equal rows is none
            row = self._read(int(block.lines[index]), block.value(index))
            if is_marked[index] and (isinstance(row, Uncaptioned) or hashes_of([row.key])[0] != hashes[index]):
                keys.forget(hashes[[index]])
                is_marked[index] = False
                later = np.flatnonzero((hashes == hashes[index]) & (states == REPEATED))
                if len(later := later[later > index][:1]):
                    states[later] = keys.mark(hashes[later], block.lines[later])
                    self.repeated -= 1
                    bisect.insort(left, int(later[0]))
            if isinstance(row, Uncaptioned) or is_marked[index]:
                yield row
                continue
            own = hashes_of([row.key])
            state = keys.mark(own, block.lines[[index]])[0]
            later = np.flatnonzero((hashes == own[0]) & is_marked & (states != REPEATED))
            if state == REPEATED and len(later := later[later > index]):  # this one comes first
                keys.forget(own)
                keys.mark(own, block.lines[[index]])
                if states[later[0]] == NEW:
                    left.remove(int(later[0]))
                    state = NEW
                    self.repeated += 1
                states[later] = REPEATED
            self.done += int(state == DONE)
            self.repeated += int(state == REPEATED)
            if state == NEW:
                yield row

    def _read(self, line: int, value: Value | Rejection) -> Row | Uncaptioned:
        try:
            return self._row(line, value)
        except Rejection as rejection:
            detail = rejection.detail or rejection.reason
            media, row_id = _writable(_media_of(value)), _id_of(value)
            row_id = _writable(row_id) if isinstance(row_id, str) else row_id
            return Uncaptioned(media, detail, row_id, file=self.name, line=line)

    def _row(self, line: int, value: Value | Rejection) -> Row:
        if isinstance(value, Rejection):
            raise value
        reading = Reading()
        medium, span_inside = self._media.find(value.get("media"), reading)
        prompt = _prompt_of(value)
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


def _hashed(block: RowBlock) -> tuple[RowBlock, np.ndarray, np.ndarray]:
    return block, *_plain(block)


def _plain(block: RowBlock) -> tuple[np.ndarray, np.ndarray]:
    """(N,) hashes of keys, and of which rows they are: of those that say no more than a row plainly does."""
    if len(block.lines) > 1 and (table := block.columns()) is not None:
        from aurora_cli.captioning.job.plain_keys import plain_keys  # pyarrow, only where there are many rows

        if (plain := plain_keys(table, says_nothing)) is not None:
            return plain.hashes, plain.is_plain
    keys = [_plain_key(block.value(index)) for index in range(len(block.lines))]
    hashes = np.zeros(len(keys), HASH)
    is_plain = np.array([key is not None for key in keys], bool)
    hashes[is_plain] = hashes_of(key for key in keys if key is not None)
    return hashes, is_plain


def _plain_key(value: Value | Rejection) -> CaptionKey | None:
    """The key of a row whose medium is a path or a URL; none: another, or none at all."""
    if isinstance(value, Rejection) or any(map(_is_unread, value)):
        return None
    media, reading = value.get("media"), Reading()
    if not isinstance(media, str) or not media.strip() or media[:5].lower() in NOT_PATHS:
        return None
    try:
        prompt, span = _prompt_of(value), span_in(value, reading)
    except Rejection:
        return None
    return None if reading.unread else (media, _id_of(value), part_of(span), prompt)


def _prompt_of(value: Value) -> str | None:
    """The question about the medium; none: it has none of its own."""
    prompt = value.get("prompt")
    if prompt is not None and not isinstance(prompt, str):
        raise Rejection("bad_text", f"prompt: it is {shortened(prompt)}; a text was expected")
    return prompt if prompt and prompt.strip() else None


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
