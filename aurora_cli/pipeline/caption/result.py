"""What `aurora caption` did."""

from dataclasses import dataclass

from aurora_cli.captioning.result import Caption, Uncaptioned
from aurora_cli.errors import EXIT_DATA, EXIT_OK
from aurora_cli.pipeline.result import Result


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

    def lines(self) -> list[str]:
        if self.dry_run:
            media = "1 image or video" if self.media == 1 else f"{self.media:,} images and videos"
            return [f"Would caption {media} with {self.model}"]
        lines = [line_of(caption) for caption in self.captions]
        if self.reused:
            lines.append(f"{self.reused:,} of them were captioned before")
        lines += [f"{each.media}: NOT CAPTIONED: {each.reason}" for each in self.rejected]
        return [*lines, f"{self.output}"] if self.output else lines

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


def line_of(caption: Caption) -> str:
    """A caption as a person reads it."""
    return f"{start_of_line(caption.media)}{caption.caption}"


def start_of_line(media: str) -> str:
    """The line of a caption up to where the caption begins."""
    return f"{media}: "
