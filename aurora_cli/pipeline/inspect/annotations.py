"""`aurora inspect FILE`: what `aurora tokenize` would do with an annotation file."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aurora_cli.config.settings import Settings
from aurora_cli.config.workspace import Workspace
from aurora_cli.constants import IMAGE
from aurora_cli.data.annotations.files import raw_records
from aurora_cli.data.annotations.records import REASONS, Record, Rejection, decode_json, media_of
from aurora_cli.data.annotations.schemas import SIGNS, recognised, record_of
from aurora_cli.data.annotations.sources import AnnotationSource, annotation_sources
from aurora_cli.data.media.root import MediaRoot
from aurora_cli.data.tokenization.preview import TARGET, mark_spans
from aurora_cli.data.tokenization.templates import OWN_TEMPLATE, get_template, render
from aurora_cli.data.tokenization.tokenizer import find_tokenizer
from aurora_cli.errors import EXIT_DATA, EXIT_OK
from aurora_cli.pipeline.result import Result

KINDS = ("text", "image", "images", "frames", "video")


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
    kinds: dict[str, int]
    """Kept records by what they hold: text, image, images, frames (a list that is one video), video."""
    turns: int
    rejected: tuple[RejectedKind, ...]
    media: int
    """Different images and videos."""
    missing: int
    """Those not found from the media root."""
    sample: str
    """The first kept record in the template's words, what a model learns to give between >>> and <<<."""

    def lines(self) -> list[str]:
        kinds = ", ".join(f"{name} {count:,}" for name, count in self.kinds.items() if count)
        lines = [
            f"{self.path}: {self.read:,} records, of which tokenize would keep {self.kept:,} "
            f"({kinds or 'none'}) with {self.turns:,} answers",
            f"  schema: {', '.join(f'{name} {count:,}' for name, count in self.schemas.items()) or 'none'} "
            f"({self.recognised_by})",
            f"  template {self.template}; a list of images is {self.frame_lists}",
            f"  media: {self.media:,} named, {self.media - self.missing:,} found, {self.missing:,} missing",
        ]
        for entry in self.rejected:
            lines.append(f"  rejected {entry.count:,}: {entry.reason}: {entry.meaning} First: {entry.first}")
        if self.sample:
            lines += ["  the first record (what a model learns to give between >>> and <<<):", f"  {self.sample}"]
        return lines

    @property
    def exit_code(self) -> int:
        """3 when not one record can be used."""
        return EXIT_OK if self.kept else EXIT_DATA


def inspect_annotations(path: Path, settings: Settings) -> AnnotationsReport:
    step = settings.tokenize
    (source,) = annotation_sources([path], step, Workspace(settings.workspace))
    show = shower(settings, source)
    root = MediaRoot(source.media_root)
    read = turns = 0
    kinds: dict[str, int] = dict.fromkeys(KINDS, 0)
    schemas: Counter[str] = Counter()
    rejected: Counter[str] = Counter()
    first: dict[str, str] = {}
    found: dict[str, bool] = {}
    sample = ""
    for line, raw in raw_records(path):
        read += 1
        try:
            value = decode_json(raw)
            schema = recognised(value) if step.record_schema == "auto" else step.record_schema
            schemas[schema] += 1
            record = record_of(value, f"{path.name}:{line}", schema)
            answers, text = show(record)
        except Rejection as rejection:
            rejected[rejection.reason] += 1
            first.setdefault(rejection.reason, f"line {line}: {rejection.detail}")
            continue
        kinds[kind_of(record, source)] += 1
        turns += answers
        sample = sample or text
        for name in media_of(record):
            if name not in found:
                found[name] = root.locate(name) is not None
    return AnnotationsReport(
        path=str(path),
        schemas=dict(schemas),
        recognised_by=reasons_for(schemas) if step.record_schema == "auto" else "as set",
        template=step.template,
        frame_lists="clip" if source.images_are_video else "separate",
        read=read,
        kept=sum(kinds.values()),
        kinds=kinds,
        turns=turns,
        rejected=tuple(RejectedKind(name, REASONS[name], count, first[name]) for name, count in rejected.items()),
        media=len(found),
        missing=sum(not is_found for is_found in found.values()),
        sample=sample,
    )


def reasons_for(schemas: Counter[str]) -> str:
    """By which field each of the schemas was recognised."""
    return ", ".join(f"`{sign}` is a field of {schema}" for sign, schema in SIGNS.items() if schema in schemas) or (
        f"no record has one of {', '.join(SIGNS)}"
    )


def shower(settings: Settings, source: AnnotationSource) -> Callable[[Record], tuple[int, str]]:
    """What gives the number of a record's answers, and its text with the targets marked, or raises a Rejection."""
    step = settings.tokenize
    if step.template == OWN_TEMPLATE:
        from aurora_cli.data.tokenization.chat_encoder import ChatEncoder

        name = settings.model.tokenizer or settings.model.language_model
        own = ChatEncoder(find_tokenizer(name, Workspace(settings.workspace)))

        def show_own(record: Record) -> tuple[int, str]:
            text_segments, _ = own.render(record, frames=step.frames, images_are_video=source.images_are_video)
            answers = sum(len(segment.targets) for segment in text_segments)
            return answers, IMAGE.join(mark_spans(segment.text, segment.targets) for segment in text_segments)

        return show_own
    template = get_template(step.template)

    def show(record: Record) -> tuple[int, str]:
        conversation = render(record, template, frames=step.frames, images_are_video=source.images_are_video)
        turns = [
            IMAGE.join(turn.prompt) + (TARGET.format(text=turn.answer) if turn.is_target else turn.answer)
            for turn in conversation.turns
        ]
        return len(turns), template.separator.join(turns)

    return show


def kind_of(record: Record, source: AnnotationSource) -> str:
    if record.video:
        return "video"
    count = len(record.images or ())
    if count > 1:
        return "frames" if source.images_are_video else "images"
    return "image" if count else "text"
