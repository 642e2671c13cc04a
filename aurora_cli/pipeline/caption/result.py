"""What `aurora caption` did."""

from dataclasses import dataclass
from pathlib import Path

from aurora_cli.captioning.job.lines import line_of, start_of_line
from aurora_cli.captioning.job.parts import rejects_of
from aurora_cli.captioning.result import Caption, Uncaptioned
from aurora_cli.constants import REJECTS_FILE
from aurora_cli.errors import EXIT_DATA, EXIT_OK
from aurora_cli.pipeline.caption_parts import PartsResult
from aurora_cli.pipeline.result import Result

SHOWN = 20
"""Rows of a list that are named if they could not be captioned; where captions go to a file, it lists all."""


@dataclass(frozen=True)
class CaptionResult(Result):
    """Captions in the order of the media."""

    model: str
    captions: tuple[Caption, ...] = ()
    rejected: tuple[Uncaptioned, ...] = ()
    reused: int = 0
    """Captions that the output held already."""
    output: str | None = None
    dry_run: bool = False
    media: int = 0
    listed_in: str | None = None
    """The list of media. With an output too, `captions` is empty: they are there, and may be many."""
    made: int = 0
    """Captions that this run made."""
    repeated: int = 0
    """Rows of the list that are the same as an earlier one."""
    share: str | None = None
    """Of the media, as `--shard` says it; `output` is its part."""
    processes: int = 1
    """Of this machine, each with a share."""
    on_ray: bool = False
    """By the processes of a Ray cluster; `captions` is empty, they are in the output."""
    parts: PartsResult | None = None
    """Of the output that all parts become."""

    def lines(self) -> list[str]:
        if self.dry_run:
            media = "1 image or video" if self.media == 1 else f"{self.media:,} images and videos"
            share = "" if self.share is None else f", share {self.share}"
            return [f"Would caption {media} with {self.model}{share}"]
        lines = [line_of(caption) for caption in self.captions]
        by = "Ray" if self.on_ray else f"{self.processes} processes"
        if self.listed_in is None and (self.on_ray or self.processes > 1):
            lines.append(f"{self.media:,} media, {self.made + self.reused:,} captioned by {by}")
        if self.listed_in is not None:
            lines.append(f"{self.listed_in}: {self.media:,} rows, {self.made + self.reused:,} captioned")
        if self.reused:
            lines.append(f"{self.reused:,} of them were captioned before")
        if self.repeated:
            lines.append(f"{self.repeated:,} rows are the same as an earlier one, and have one caption with it")
        is_listed = self.on_ray or (self.listed_in is not None and (self.output or self.parts))
        shown = self.rejected[: SHOWN if is_listed or self.processes > 1 else None]
        lines += [f"{_named(each)}: NOT CAPTIONED: {each.reason}" for each in shown]
        if len(shown) < len(self.rejected):
            in_part = self.parts is not None and self.output is not None
            listed_in = rejects_of(Path(self.output or "")).name if in_part else REJECTS_FILE
            lines.append(f"and {len(self.rejected) - len(shown):,} more, in {listed_in}")
        if self.output:
            lines.append(self.output)
        return lines if self.parts is None else [*lines, *self.parts.lines()]

    @property
    def exit_code(self) -> int:
        return EXIT_DATA if self.rejected else EXIT_OK


@dataclass(frozen=True)
class ServeResult(Result):
    """What was captioned on a page, when it is closed."""

    model: str
    url: str
    captions: int = 0
    dry_run: bool = False

    def lines(self) -> list[str]:
        if self.dry_run:
            return [f"Would open a page at {self.url}, to caption with {self.model}"]
        return [f"{self.captions:,} captions by {self.model}"]


def _named(each: Uncaptioned) -> str:
    named = start_of_line(each.media, each.span).removesuffix(": ")
    return named if each.file is None else f"{each.file}:{each.line}: {named}".removesuffix(": ")
