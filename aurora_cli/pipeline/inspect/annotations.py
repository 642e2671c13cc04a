"""`aurora inspect FILE`: what `aurora tokenize` would do with an annotation file."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.data.annotations.files import check_records, raw_records
from aurora_cli.data.annotations.keys import KeyCounts, key_lines
from aurora_cli.data.annotations.records import Record, Rejection, decode_json, explained, media_of
from aurora_cli.data.annotations.schemas import AUTO, SIGNS, check_schema, meaning_of, recognised, record_of
from aurora_cli.data.annotations.sources import AnnotationSource, annotation_sources
from aurora_cli.data.media.root import MediaRoot
from aurora_cli.data.seen import DistinctSample
from aurora_cli.errors import EXIT_DATA, EXIT_OK
from aurora_cli.pipeline.inspect.record_preview import Preview, preview_of
from aurora_cli.pipeline.result import Result

MediaKind = Literal["text", "image", "images", "frames", "video"]


@dataclass(frozen=True)
class RejectedKind:
    """The records that are rejected for one reason."""

    reason: str
    meaning: str
    count: int
    first: str
    """Line and detail of the first."""


@dataclass(frozen=True)
class AnnotationsReport(Result):
    """What would become of a file."""

    path: str
    schemas: dict[str, int]
    """Records by the schema that they are read by."""
    recognised_by: str
    """Why that one."""
    template: str
    frame_lists: str
    read: int
    kept: int
    """Before the cut at `max_length`, which only the tokenizer can make."""
    kinds: dict[MediaKind, int]
    """Kept records by what they hold: text, image, images, frames (a list that is one video), video."""
    turns: int
    rejected: tuple[RejectedKind, ...]
    keys_read: dict[str, int]
    """Records by the keys of media, times, weights and roles that were read."""
    keys_warned: dict[str, int]
    """Records by the keys that look like one of these, and were not read."""
    spans: int
    """Kept records that are about a part of a video."""
    media: int
    """Different images and videos."""
    missing: int
    """Those not found from the file's folder, or from `--media-root`."""
    media_estimated: bool
    """The numbers of media are estimates from a share of them, good to about 0.1 %: there are too many to keep."""
    sample: str
    """The first kept record in the template's words, its target text between >>> and <<<."""

    def lines(self) -> list[str]:
        kinds = ", ".join(f"{name} {count:,}" for name, count in self.kinds.items() if count)
        lines = [
            f"{self.path}: {self.read:,} records, of which tokenize would keep {self.kept:,} "
            f"({kinds or 'none'}) with {self.turns:,} answers",
            f"  schema: {', '.join(f'{name} {count:,}' for name, count in self.schemas.items()) or 'none'} "
            f"({self.recognised_by})",
            f"  template {self.template}; a list of images is {self.frame_lists}",
            f"  media: {self.media:,} named, {self.media - self.missing:,} found, {self.missing:,} missing"
            + (" (estimates, good to about 0.1 %)" if self.media_estimated else ""),
            *key_lines(self.keys_read, self.keys_warned),
        ]
        for entry in self.rejected:
            lines.append(f"  rejected {entry.count:,}: {entry.reason}: {entry.meaning} First: {entry.first}")
        if self.sample:
            lines += ["  the first record (>>>what the loss learns from<<<):", f"  {self.sample}"]
        return lines

    @property
    def exit_code(self) -> int:
        """3 when not one record can be used."""
        return EXIT_OK if self.kept else EXIT_DATA


def inspect_annotations(path: Path, settings: Settings, media_root: Path | None = None) -> AnnotationsReport:
    """Read a whole file as `tokenize` would, and look after its media from `media_root`, else from its folder.

    Raises:
        UsageError: there is no such template, or the tokenizer has none.
        DataError: the file cannot be read.
    """
    step = settings.tokenize
    (source,) = annotation_sources([path], step, Workspace(settings.workspace))
    check_records(path)
    in_order = step.image_places == "kept"
    tally = _Tally(preview_of(settings, source), source, check_schema(step.record_schema), in_order=in_order)
    root, media = MediaRoot(media_root or source.media_root), DistinctSample()
    for line, raw in raw_records(path):
        for name in tally.add(line, raw):
            if media.wants(name):
                media.add(name, root.locate(name) is None)
    return AnnotationsReport(
        path=str(path),
        schemas=dict(tally.schemas),
        recognised_by=reasons_for(tally.schemas) if step.record_schema == AUTO else "tokenize.record_schema",
        template=step.template,
        frame_lists="clip" if source.images_are_video else "separate",
        read=tally.read,
        kept=sum(tally.kinds.values()),
        kinds=tally.kinds,
        turns=tally.turns,
        rejected=tuple(
            RejectedKind(reason, meaning_of(reason), count, tally.first[reason])
            for reason, count in tally.rejected.items()
        ),
        keys_read=dict(tally.keys.read),
        keys_warned=dict(tally.keys.warned),
        spans=tally.spans,
        media=media.texts,
        missing=media.in_class,
        media_estimated=media.is_estimate,
        sample=tally.sample,
    )


class _Tally:
    """What the records of a file come to, one after the other."""

    def __init__(self, preview: Preview, source: AnnotationSource, record_schema: str, *, in_order: bool) -> None:
        self._preview = preview
        self._source = source
        self._in_order = in_order
        self._schema_of = recognised if record_schema == AUTO else lambda _: record_schema
        self.keys = KeyCounts()
        self.read = self.turns = self.spans = 0
        self.kinds: dict[MediaKind, int] = dict.fromkeys(get_args(MediaKind), 0)
        self.schemas: Counter[str] = Counter()
        self.rejected: Counter[str] = Counter()
        self.first: dict[str, str] = {}
        """Of the rejected, by reason: line and detail."""
        self.sample = ""

    def add(self, line: int, raw: bytes) -> Iterator[str]:
        """Count a record, and yield the media that it names; none of one that is rejected."""
        self.read += 1
        try:
            value = decode_json(raw)
            schema = self._schema_of(value)
            self.schemas[schema] += 1
            location = f"{self._source.path.name}:{line}"
            record = record_of(value, location, schema, self.keys, in_order=self._in_order)
            answers, text = self._shown(record)
        except Rejection as rejection:
            self.rejected[rejection.reason] += 1
            self.first.setdefault(rejection.reason, f"line {line}: {rejection.detail}")
            return
        self.kinds[kind_of(record, self._source)] += 1
        self.turns += answers
        self.spans += record.span is not None
        self.sample = self.sample or text
        yield from media_of(record)

    def _shown(self, record: Record) -> tuple[int, str]:
        try:
            return self._preview(record)
        except Rejection as rejection:
            raise explained(rejection, record) from rejection


def reasons_for(schemas: Counter[str]) -> str:
    """By which field each of the schemas was recognised."""
    return ", ".join(f"`{sign}` is a field of {schema}" for sign, schema in SIGNS.items() if schema in schemas) or (
        f"no record has one of {', '.join(SIGNS)}"
    )


def kind_of(record: Record, source: AnnotationSource) -> MediaKind:
    if record.video:
        return "video"
    count = len(record.images or ())
    if count > 1:
        return "frames" if source.images_are_video or record.is_frame_list else "images"
    return "image" if count else "text"
