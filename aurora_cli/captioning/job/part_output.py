"""The captions of one share of the media, in a file of their own, each with its line in the list."""

import operator
from collections.abc import Iterator, Sequence

from aurora_cli.captioning.job.output import CaptionFile, CaptionKey, key_of, read_lines, rewrite, stored
from aurora_cli.captioning.job.parts import KEY, LINE, Part, PartReceipt
from aurora_cli.captioning.result import Caption, Uncaptioned
from aurora_cli.io.atomic import write_text
from aurora_cli.io.json_files import JsonObject


class PartFile(CaptionFile):
    """A part. Between two runs the list of media may have changed: a caption is kept, its line is found again."""

    def __init__(self, part: Part, made_by: str) -> None:
        self._part = part
        self._lines: dict[CaptionKey, int] = {}
        """Of the media of this run."""
        super().__init__(part.path, made_by)

    def has(self, key: CaptionKey, line: int) -> bool:
        self._lines[key] = line
        return super().has(key, line)

    def close(self, uncaptioned: Sequence[Uncaptioned], settings: JsonObject, total: int) -> None:
        """The part is whole: its lines are those of this run's media, in their order."""
        captions = 0
        last = 0
        in_order = True
        for line in read_lines(self.path):
            number = self._number(line)
            in_order = in_order and number is not None and number == line.get(LINE) and last < number
            last = number or last
            captions += number is not None
        if not in_order:
            numbered = ((self._number(line), line) for line in read_lines(self.path))
            own = sorted(((number, line) for number, line in numbered if number), key=operator.itemgetter(0))
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
        keys = {line: key for key, line in self._lines.items() if line in rejected}
        for each in uncaptioned:
            key = keys.get(each.line or 0)
            yield stored(each) if key is None else {**stored(each), KEY: key}

    def _line(self, caption: Caption) -> JsonObject:
        return {**super()._line(caption), LINE: self._lines.get(key_of(caption), 0)}

    def _number(self, line: JsonObject) -> int | None:
        """Where in this run's list a caption of the file stands; none: nowhere."""
        caption = self._own(line)
        return None if caption is None else self._lines.get(key_of(caption))
