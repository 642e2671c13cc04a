"""What `aurora import` did, and how it says so."""

from dataclasses import dataclass, field

from aurora_cli.errors import EXIT_DATA, EXIT_OK
from aurora_cli.pipeline.result import Result

SHOWN = 20


@dataclass(frozen=True)
class SampleRecord:
    """A record as a model would be asked and would answer."""

    id: str
    media: list[str]
    kind: str | None
    question: str
    answer: str
    span: tuple[float, float] | None = None

    def lines(self) -> list[str]:
        part = "" if self.span is None else f", {self.span[0]:g} to {self.span[1]:g} s"
        return [
            f"{', '.join(self.media) or 'text'} ({self.kind or 'text'}{part})",
            f"  Q: {self.question}",
            f"  A: {self.answer}",
        ]


@dataclass(frozen=True)
class MediaSummary:
    """What a sample of the media is like."""

    images: int = 0
    image_sizes: tuple[str, str, str] | None = None
    """The smallest, the middle and the largest by pixels."""
    videos: int = 0
    video_sizes: tuple[str, str, str] | None = None
    seconds: tuple[float, float, float] | None = None
    """The shortest, the middle and the longest."""
    frame_rates: tuple[float, float, float] | None = None
    """Frames a second: the lowest, the middle and the highest."""
    unreadable: tuple[tuple[str, str], ...] = ()
    """Paths of those that cannot be decoded, and why."""

    def lines(self) -> list[str]:
        lines = [f"media decoded: {self.images:,} images, {self.videos:,} videos"]
        if self.image_sizes is not None:
            lines.append(f"  images: {_range(*self.image_sizes)} pixels")
        if self.video_sizes is not None:
            lines.append(f"  videos: {_range(*self.video_sizes)} pixels")
        if self.seconds is not None:
            lines.append(f"  their lengths: {_range(*(f'{one:.1f}' for one in self.seconds))} s")
        if self.frame_rates is not None:
            lines.append(f"  frames a second: {_range(*(f'{one:.4g}' for one in self.frame_rates))}")
        if self.unreadable:
            lines.append(f"{len(self.unreadable):,} of them cannot be decoded:")
            lines += [f"  {path}: {why}" for path, why in self.unreadable[:SHOWN]]
        return lines


@dataclass(frozen=True)
class ImportResult(Result):
    """What became of the rows of all sources."""

    output: str
    """The file of records."""
    split: str
    name: str
    sources: list[str]
    """How each was read."""
    read: int = 0
    kept: int = 0
    """Of these, `validation` are not trained on."""
    validation: int = 0
    validation_output: str | None = None
    images: int = 0
    videos: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    """Rows by reason."""
    first_missing: str | None = None
    """Path of the first medium that is not there."""
    rejects_file: str | None = None
    seconds: float = 0.0
    done_before: bool = False
    samples: tuple[SampleRecord, ...] = ()
    """With --dry-run: the first records."""
    html: str | None = None
    media: MediaSummary | None = None
    dry_run: bool = False

    def lines(self) -> list[str]:
        if self.dry_run:
            lines = [f"would import into {self.output}:", *(f"  {source}" for source in self.sources)]
            lines += [line for sample in self.samples for line in sample.lines()]
            lines += self._rejected_lines("of the rows looked at")
            lines += [f"page: {self.html}"] if self.html else []
            return [*lines, *(self.media.lines() if self.media else [])]
        of_kinds = f"{self.images:,} with images, {self.videos:,} with videos"
        lines = [f"{self.output}: {self.kept:,} of {self.read:,} rows ({of_kinds})"]
        if not self.kept:
            lines = [f"{self.output}: not written: {'no row is of use' if self.read else 'there is no row'}"]
        if self.validation:
            lines.append(f"  for validation {self.validation:,}: {self.validation_output}")
        lines += self._rejected_lines("")
        lines += self.media.lines() if self.media else []
        if self.done_before:
            lines.append("  nothing to do: imported before")
        elif self.kept:
            lines.append(f"Next: aurora tokenize --split {self.split} --subset {self.name}")
        return lines

    def _rejected_lines(self, of_which: str) -> list[str]:
        if not self.rejected:
            return []
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in sorted(self.rejected.items()))
        see = f"; see {self.rejects_file}" if self.rejects_file else ""
        lines = [f"  rejected{' ' if of_which else ''}{of_which} {sum(self.rejected.values()):,}: {reasons}{see}"]
        if self.first_missing is not None and 2 * self.rejected.get("missing_media", 0) > self.read:
            lines.append(f"  most media are not there, as {self.first_missing}: --media-root DIR says where they are")
        return lines

    @property
    def exit_code(self) -> int:
        """3 when not one row could be used, or there is none; or a medium cannot be decoded."""
        unreadable = self.media is not None and bool(self.media.unreadable)
        return EXIT_DATA if not self.kept or unreadable else EXIT_OK


def _range(low: str, middle: str, high: str) -> str:
    return f"{low} to {high}, half of them below {middle}" if low != high else low
