"""The captions of one share of the media, in a file of their own, each with its line in the list."""

import operator
from collections.abc import Iterator, Sequence

import numpy as np

from aurora_cli.captioning.job.key_hashes import CaptionKey, hashes_of
from aurora_cli.captioning.job.output import CaptionFile, key_of, parsed, read_lines, rewrite, stored
from aurora_cli.captioning.job.parts import KEY, LINE, Part, PartReceipt
from aurora_cli.captioning.job.stored_lines import LineBlock, hashes_in, stored_blocks
from aurora_cli.captioning.result import Caption, Uncaptioned
from aurora_cli.io.atomic import write_text
from aurora_cli.io.json_files import JsonObject


class PartFile(CaptionFile):
    """A part. Between two runs the list of media may have changed: a caption is kept, its line is found again."""

    with_lines = True

    def __init__(self, part: Part, made_by: str, rows: int = 0) -> None:
        self._part = part
        self._expected: dict[CaptionKey, int] = {}
        """The lines of what this run captions, until it has."""
        super().__init__(part.path, made_by, rows)

    def expect(self, key: CaptionKey, line: int) -> None:
        self._expected[key] = line

    def settings_before(self) -> JsonObject:
        receipt = PartReceipt.read_if_there(self._part.receipt)
        return {} if receipt is None else receipt.settings

    def close(self, uncaptioned: Sequence[Uncaptioned], settings: JsonObject, total: int) -> None:
        """The part is whole: its lines are those of this run's media, in their order."""
        captions = last = 0
        in_order = True
        for block in stored_blocks(self.path):
            numbers = self._numbers(block)
            steps = np.diff(numbers, prepend=last)
            in_order = in_order and bool((steps > 0).all())
            in_order = in_order and numbers.tolist() == [*map(_written_number, block.lines)]
            captions, last = captions + int((numbers > 0).sum()), numbers[-1]
        if not in_order:
            numbered = ((self._number(line), line) for line in read_lines(self.path))
            own = sorted(((number, line) for number, line in numbered if number > 0), key=operator.itemgetter(0))
            rewrite(self.path, ({**line, LINE: number} for number, line in own))
        elif not self.path.exists():
            write_text(self.path, "")  # all of the share was rejected, or it has no media
        rewrite(self._part.rejects, self._rejects(uncaptioned))
        PartReceipt(
            index=self._part.share.index,
            count=self._part.share.count,
            made_by=self.made_by,
            media=self._part.media,
            total=total,
            captions=captions,
            size=self.path.stat().st_size,
            rejected=len(uncaptioned),
            settings=settings,
        ).write(self._part.receipt)

    def _rejects(self, uncaptioned: Sequence[Uncaptioned]) -> Iterator[JsonObject]:
        """Their lines, with the key of what was a row: equal rows of several shares are told from equal bad ones."""
        rejected = {each.line for each in uncaptioned}
        keys = {line: key for key, line in self._expected.items() if line in rejected}
        for each in uncaptioned:
            key = keys.get(each.line or 0)
            yield stored(each) if key is None else {**stored(each), KEY: key}

    def _line(self, caption: Caption) -> JsonObject:
        return {**super()._line(caption), LINE: self._expected.pop(key_of(caption), 0)}

    def _number(self, line: JsonObject) -> int:
        """Where in this run's list a caption of the file stands; 0: nowhere."""
        caption = self._own(line)
        return 0 if caption is None else max(0, int(self.keys.lines(hashes_of([key_of(caption)]))[0]))

    def _numbers(self, block: LineBlock) -> np.ndarray:
        """(N,) the same of lines of the file."""
        hashes = hashes_in(block, self.made_by)
        if hashes is None or len(hashes) < block.count:
            return np.array([self._number(parsed(line)) for line in block.lines])
        return np.maximum(0, self.keys.lines(hashes))


def _written_number(line: bytes) -> int:
    """What a line of the file ends with.

    >>> _written_number(b'{"media": "a.png", "line": 12}')
    12
    """
    number = line.rstrip(b"} \r").rpartition(b" ")[2]
    return int(number) if number.isdigit() else -1
