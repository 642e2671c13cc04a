"""What every import format yields: a caption with its medium, or what cannot be one."""

from typing import NamedTuple

from aurora_cli.data.annotations.records import REASONS as RECORD_REASONS
from aurora_cli.data.annotations.records import Message, Span
from aurora_cli.data.media.kinds import MediaKind

REASONS = {
    "missing_media": "The image or video is not there.",
    "no_media": "The row names no image and no video.",
    "no_caption": "The image or video has no caption, or one without words.",
    "bad_row": "The row has other columns than the header, or a quote that does not end.",
    "bad_unicode": RECORD_REASONS["bad_unicode"] + " Or the row is not in the encoding of the file (`--encoding`).",
    "bad_json": RECORD_REASONS["bad_json"],
    "bad_span": "Its times are no times, the part is empty, or there are not as many times as captions.",
    "remote_media": RECORD_REASONS["remote_media"],
    "bad_media": "What stands for the image or video is no path; or embedded bytes are of no known kind.",
    "duplicate": "The same medium has the same caption already (`import_data.duplicates: keep` keeps it).",
    "other_rows": "Another value than `--rows` asks for.",
    "split_between": "Of its images some are kept for validation and others are not.",
    "broken_archive": "The archive breaks off here.",
}
"""Why a row gives no record. A conversation may also have one of the reasons of records."""


class Item(NamedTuple):
    """A caption and what it is about."""

    file: str
    """Where it was read, as `rejected.jsonl` names it."""
    line: int
    """From 1: line, element, row or member of the file."""
    id: str
    media: tuple[str, ...]
    """Paths as the source has them."""
    kind: MediaKind | None
    """None: what the path's suffix says."""
    caption: str
    span: Span | None = None
    group: str | None = None
    """Rows with the same one lie on one side of the validation split; none: the media decide."""
    other: str | None = None
    """Where the medium is if it is not at its path."""
    content: bytes | None = None
    """The medium itself, where the source holds it."""
    contents: tuple[bytes, ...] = ()
    """The media themselves, each at its place among `media`."""
    messages: list[Message] | None = None
    """A whole conversation, instead of a caption."""
    is_frame_list: bool = False
    """Whether the media are the frames of one video."""
    question: str | None = None
    """What is asked; none: a question is drawn."""


class Refused(NamedTuple):
    """A row that is no caption with a medium."""

    file: str
    line: int
    id: str
    reason: str
    """A key of `REASONS`, or of the reasons of records."""
    detail: str
