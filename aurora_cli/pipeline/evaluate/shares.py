"""`aurora evaluate --shard I/N`: a share of the media is captioned at each point; who makes the last part scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aurora_cli.captioning.job.merge_parts import check_replaceable, merge_parts
from aurora_cli.captioning.job.parts import Part, PartReceipt, check_count, counts_in, hash_of_names, parts_folder
from aurora_cli.captioning.job.request import Captioned, CaptionRequest
from aurora_cli.captioning.job.rows import Row
from aurora_cli.config.settings import Settings
from aurora_cli.config.share import Share
from aurora_cli.console import Reporter
from aurora_cli.errors import EXIT_DATA, EXIT_OK, DataError, UsageError
from aurora_cli.io.locks import lock_output
from aurora_cli.pipeline.caption_parts import PartsResult, parts_result
from aurora_cli.pipeline.evaluate.points import Point, QuietReporter, checked_source
from aurora_cli.pipeline.result import Result


@dataclass(frozen=True)
class ShareResult(Result):
    """A share of the media is captioned; nothing is scored before all are."""

    share: str
    media: int
    """Of the share."""
    made: int
    """Captions that this run made, at all points."""
    uncaptioned: int
    parts: tuple[PartsResult, ...]
    """Of each point's captions."""

    def lines(self) -> list[str]:
        at = f" at {len(self.parts)} points" if len(self.parts) > 1 else ""
        lines = [f"share {self.share}: {self.media:,} media are captioned{at}, {self.made:,} captions by this run"]
        if self.uncaptioned:
            lines.append(f"{self.uncaptioned:,} could not be captioned")
        lines += [line for parts in self.parts for line in parts.lines()]
        if self.is_whole:
            lines.append("scored by the process that made the last part")
        return lines

    @property
    def is_whole(self) -> bool:
        """Whether all captions are there."""
        return all(parts.is_whole for parts in self.parts)

    @property
    def is_last(self) -> bool:
        """Whether it is for this process to score them: it made the last part, or it found all of them there."""
        return self.is_whole and (not self.made or any(parts.merged for parts in self.parts))

    @property
    def exit_code(self) -> int:
        return EXIT_DATA if self.uncaptioned else EXIT_OK


def caption_share(
    settings: Settings,
    model: str,
    rows: Sequence[Row],
    points: Sequence[Point],
    folder: Path,
    share: Share,
    reporter: Reporter,
) -> ShareResult:
    """Caption a share of the media at one point after the other.

    Raises:
        UsageError: a file holds something else, parts are of another number of shares, or another process has one.
        SettingsError: the tower cannot merge down to one of the ratios.
        DataError: the model is damaged.
    """
    from aurora_cli.captioning.job.session import CaptionSession

    source, _ = checked_source(settings, model, points, folder, reporter)
    named = hash_of_names(row.medium.name for row in rows)
    own = tuple(row for position, row in enumerate(_numbered(rows)) if share.takes(position))
    parts = [Part(point.file(folder), share, named, len(rows)) for point in points]
    for part in parts:
        check_count(part)
        check_replaceable(part.output)
    done: list[Captioned] = []
    found: list[PartsResult] = []
    for point, part in zip(points, parts, strict=True):
        request = CaptionRequest(model, own, part.path, part=part)
        with lock_output(part.path, "aurora evaluate"):
            caption, quiet = point.settings(settings.caption), QuietReporter(reporter, point)
            done.append(CaptionSession(source, request, caption, quiet).run())
        state = merge_parts(part.output, share.count, PartReceipt.read(part.receipt))
        found.append(parts_result(part.output, state))
    return ShareResult(
        str(share),
        len(own),
        sum(each.made for each in done),
        sum(len(each.uncaptioned) for each in done),
        tuple(found),
    )


def _numbered(rows: Sequence[Row]) -> list[Row]:
    """Parts are put together by the lines of rows; no file says these."""
    return [row._replace(line=number) for number, row in enumerate(rows, start=1)]


def merge_shares(points: Sequence[Point], folder: Path) -> None:
    """Make the captions of points that were made in shares, before they are scored without one.

    Raises:
        UsageError: there are parts of several numbers of shares.
        DataError: some are missing; the message names their shares.
    """
    for point in points:
        output = point.file(folder)
        counts = sorted(counts_in(parts_folder(output)))
        if not counts or output.exists():
            continue
        if len(counts) > 1:
            raise UsageError(f"{parts_folder(output)}: has parts of {' and of '.join(map(str, counts))} shares")
        parts = parts_result(output, merge_parts(output, counts[0]))
        if not parts.is_whole:
            wanted = ", ".join(f"--shard {Share(index, parts.count)}" for index in (*parts.missing, *parts.different))
            raise DataError(
                f"{output}: {parts.why()}",
                hint=f"Start them again: aurora evaluate ... {wanted}; or remove {parts_folder(output)}.",
            )
