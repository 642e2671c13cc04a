"""The page of `aurora import --dry-run --html FILE`: the first records, with their media."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aurora_cli.errors import DataError
from aurora_cli.io.atomic import write_text
from aurora_cli.pipeline.import_data.result import SampleRecord
from aurora_cli.pipeline.import_data.sources import SourceToImport
from aurora_cli.pipeline.import_data.write import Target
from aurora_cli.reports.page import Fact, Page, render

if TYPE_CHECKING:
    from PIL import Image

SIDE = 320
QUALITY = 80
VIDEO_FRAMES = 4
IMAGES = 8
"""Of a record that are shown."""


class Thumbnail(NamedTuple):
    """An image, or a frame of a video."""

    name: str
    jpeg: bytes | None
    instead: str = ""
    """Why there is none."""


class Card(NamedTuple):
    """A record."""

    id: str
    summary: str
    images: list[Thumbnail]
    question: str
    answer: str


@dataclass(frozen=True)
class ImportPage(Page):
    """What the template shows."""

    facts: list[Fact]
    sources: list[str]
    cards: list[Card]


def write_page(
    path: Path,
    target: Target,
    sources: Sequence[SourceToImport],
    samples: Sequence[SampleRecord],
    media: Sequence[list[tuple[str, Path | bytes]]],
    rejected: Mapping[str, int],
) -> None:
    """Write it; `media` are those of each sample."""
    facts = [Fact("records shown", str(len(samples)))]
    facts += [Fact(reason, f"{count:,}", "of the rows looked at") for reason, count in sorted(rejected.items())]
    page = ImportPage(
        title=f"Import into {target.split}/{target.name}",
        lead="The first records as a model would be asked, and would answer. Nothing was written yet.",
        foot="Written by aurora import --dry-run.",
        facts=facts,
        sources=[line for source in sources for line in source.about],
        cards=[_card(sample, found) for sample, found in zip(samples, media, strict=True)],
    )
    write_text(path, render("import.html.j2", page))


def _card(sample: SampleRecord, media: list[tuple[str, Path | bytes]]) -> Card:
    part = "" if sample.span is None else f", {sample.span[0]:g} to {sample.span[1]:g} s"
    images = [image for name, source in media[:IMAGES] for image in thumbnails(name, source, sample)]
    return Card(sample.id, f"{sample.kind or 'text'}{part}", images, sample.question, sample.answer)


def thumbnails(name: str, source: Path | bytes, sample: SampleRecord) -> list[Thumbnail]:
    """The image, or frames spread over the video."""
    from PIL import Image

    from aurora_cli.data.media.images import decode_image
    from aurora_cli.data.media.videos import decode_frames

    try:
        if isinstance(source, Path) and source.is_dir():
            return [Thumbnail(name, None, "a folder of frames")]
        if sample.kind == "image":
            return [_made(name, decode_image(source, name, size=SIDE).rgb)]
        frames = decode_frames(source, name, VIDEO_FRAMES, SIDE, span=sample.span)
        return [_made(f"{name}, {at} of {len(frames)}", Image.fromarray(frame)) for at, frame in enumerate(frames, 1)]
    except (DataError, OSError, ValueError) as error:
        return [Thumbnail(name, None, str(error).removeprefix(f"{name}: "))]


def _made(name: str, image: "Image.Image") -> Thumbnail:
    buffer = io.BytesIO()
    image = image.convert("RGB")
    image.thumbnail((SIDE, SIDE))
    image.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return Thumbnail(name, buffer.getvalue())
