"""`aurora inspect FILE`: what `aurora tokenize` would do with an annotation file."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from aurora_cli.config.settings import Settings
from aurora_cli.data.annotation_files import raw_records
from aurora_cli.data.archives import MediaRoot
from aurora_cli.data.conversation import IMAGE, Conversation, written_out
from aurora_cli.data.records import REASONS, Record, Rejection, parse_record
from aurora_cli.data.tokenization import get_template
from aurora_cli.errors import EXIT_DATA, EXIT_OK
from aurora_cli.pipeline.inspect_data import media_of
from aurora_cli.pipeline.result import Result
from aurora_cli.pipeline.samples import TAUGHT
from aurora_cli.pipeline.tokenize_jobs import Source, sources

KINDS = ("text", "picture", "pictures", "clip", "video")


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
    template: str
    frame_lists: str
    read: int
    kept: int
    """Before the cut at `max_length`, which only the tokenizer can make."""
    kinds: dict[str, int]
    """Kept records by what they hold: text, picture, pictures, clip, video."""
    turns: int
    rejected: tuple[RejectedKind, ...]
    media: int
    """Different pictures and clips."""
    missing: int
    """Those not found from the file's folder."""
    sample: str
    """The first kept record in the template's words, taught parts between >>> and <<<."""

    def lines(self) -> list[str]:
        kinds = ", ".join(f"{name} {count:,}" for name, count in self.kinds.items() if count)
        lines = [
            f"{self.path}: {self.read:,} records, of which tokenize would keep {self.kept:,} "
            f"({kinds or 'none'}) with {self.turns:,} answers",
            f"  template {self.template}; a list of pictures is {self.frame_lists}",
            f"  media: {self.media:,} named, {self.media - self.missing:,} found, {self.missing:,} missing",
        ]
        for entry in self.rejected:
            lines.append(f"  rejected {entry.count:,}: {entry.reason}: {entry.meaning} First: {entry.first}")
        if self.sample:
            lines += ["  the first record (>>>taught<<<):", f"  {self.sample}"]
        return lines

    @property
    def exit_code(self) -> int:
        """3 when not one record can be used."""
        return EXIT_OK if self.kept else EXIT_DATA


def inspect_annotations(path: Path, settings: Settings) -> AnnotationsReport:
    step = settings.tokenize
    template = get_template(step.template)
    (source,) = sources([path], step)
    root = MediaRoot(path.parent)
    read = turns = 0
    kinds: dict[str, int] = dict.fromkeys(KINDS, 0)
    rejected: Counter[str] = Counter()
    first: dict[str, str] = {}
    found: dict[str, bool] = {}
    sample = ""
    for line, raw in raw_records(path):
        read += 1
        try:
            record = parse_record(raw, f"{path.name}:{line}")
            conversation = written_out(record, template, frames=step.frames, images_are_clip=source.clip)
        except Rejection as rejection:
            rejected[rejection.reason] += 1
            first.setdefault(rejection.reason, f"line {line}: {rejection.detail}")
            continue
        kinds[kind_of(record, source)] += 1
        turns += len(conversation.turns)
        sample = sample or shown(conversation, template.separator)
        for name in media_of(record):
            if name not in found:
                found[name] = root.exists(name)
    return AnnotationsReport(
        path=str(path),
        template=step.template,
        frame_lists="clip" if source.clip else "separate",
        read=read,
        kept=sum(kinds.values()),
        kinds=kinds,
        turns=turns,
        rejected=tuple(RejectedKind(name, REASONS[name], count, first[name]) for name, count in rejected.items()),
        media=len(found),
        missing=sum(not there for there in found.values()),
        sample=sample,
    )


def kind_of(record: Record, source: Source) -> str:
    if record.video:
        return "video"
    count = len(record.images or ())
    if count > 1:
        return "clip" if source.clip else "pictures"
    return "picture" if count else "text"


def shown(conversation: Conversation, separator: str) -> str:
    turns = [IMAGE.join(turn.prompt) + TAUGHT.format(text=turn.answer) for turn in conversation.turns]
    return separator.join(turns)
