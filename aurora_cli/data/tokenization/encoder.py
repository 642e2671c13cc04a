"""Records to token ids, by the thousand: parse, render, encode, cut; and the reasons of those that gave no row."""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any, Protocol

from aurora_cli.data.annotations.files import RawRecord
from aurora_cli.data.annotations.keys import KeyCounts
from aurora_cli.data.annotations.records import Record, Rejection, decode_json, explained, media_of, record_id
from aurora_cli.data.annotations.schemas import AUTO, check_schema, parse_record
from aurora_cli.data.media.root import MediaRoot
from aurora_cli.data.token_store.columns import EncodedRecords
from aurora_cli.data.token_store.rejected import RejectedRecord
from aurora_cli.data.tokenization.rows import EncodedConversation, Rows, with_frames_sampled
from aurora_cli.data.tokenization.template_encoder import TurnEncoder
from aurora_cli.data.tokenization.templates import OWN_TEMPLATE
from aurora_cli.data.tokenization.tokenizer import TextTokenizer

ANIMATED = re.compile(r"\.(gif|webp|apng|avif)$", re.IGNORECASE)


class RenderedConversation(Protocol):
    """A conversation in a template's words."""

    @property
    def media_lengths(self) -> list[int]: ...


class ConversationEncoder(Protocol):
    """A template at work: a record becomes text, many texts become tokens."""

    def render(
        self, record: Record, *, frames: int, images_are_video: bool, in_order: bool
    ) -> RenderedConversation: ...

    def encode(self, conversations: Sequence[Any]) -> Iterator[EncodedConversation]: ...

    def note(self) -> str | None: ...


def conversation_encoder(tokenizer: TextTokenizer, template: str) -> ConversationEncoder:
    """What writes by the template of that name.

    Raises:
        UsageError: there is no such template, or the tokenizer cannot write it.
    """
    if template == OWN_TEMPLATE:
        from aurora_cli.data.tokenization.chat_encoder import ChatEncoder

        return ChatEncoder(tokenizer)
    return TurnEncoder(tokenizer, template)


class Encoder:
    """Encodes records of one schema by one template."""

    def __init__(
        self,
        tokenizer: TextTokenizer,
        template: str,
        *,
        max_length: int,
        frames: int,
        schema: str = AUTO,
        images_in_order: bool = False,
    ) -> None:
        """
        Raises:
            UsageError: there is no such schema or template, or the tokenizer cannot write that.
        """
        self.conversations = conversation_encoder(tokenizer, template)
        self.max_length = max_length
        self.frames = frames
        self.schema = check_schema(schema)
        self.in_order = images_in_order
        self.media_roots: dict[Path, MediaRoot] = {}

    def encode(
        self, records: Iterable[RawRecord], file: str, *, images_are_video: bool, check_media_in: Path | None = None
    ) -> EncodedRecords:
        """Rows of the records that can be used, and the others with their reasons. `file` is where they come from.

        `check_media_in` is what the paths of images and videos start from, where those must be there.
        """
        usable, rejected, keys = [], [], KeyCounts()
        name = PurePath(file).name
        media = None if check_media_in is None else self._media_root(check_media_in)
        for line, raw in records:
            try:
                record = parse_record(raw, f"{name}:{line}", self.schema, keys, in_order=self.in_order)
                record = with_frames_sampled(record, self.frames)
                if media is not None:
                    check_media(media, record)
                rendered = self.rendered(record, images_are_video=images_are_video)
                usable.append((line, record, rendered))
            except Rejection as rejection:
                rejected.append(rejected_record(file, line, record_name(raw, f"{name}:{line}"), rejection))
        rows = Rows(self.max_length)
        encoded = self.conversations.encode([rendered for *_, rendered in usable])
        for (line, record, rendered), conversation in zip(usable, encoded, strict=True):
            if not rows.append(record, rendered.media_lengths, conversation):
                rejection = Rejection("no_target_tokens", f"max_length is {self.max_length}")
                rejected.append(rejected_record(file, line, record.id, rejection))
        rejected.sort(key=lambda entry: entry.line)
        animated = 0 if media is None else sum(has_animation(media, record) for _, record, _ in usable)
        return rows.encoded(rejected, keys)._replace(animated=animated if not images_are_video else 0)

    def rendered(self, record: Record, *, images_are_video: bool) -> RenderedConversation:
        """The record in the template's words.

        Raises:
            Rejection: it cannot be used.
        """
        try:
            return self.conversations.render(
                record, frames=self.frames, images_are_video=images_are_video, in_order=self.in_order
            )
        except Rejection as rejection:
            raise explained(rejection, record) from rejection

    def _media_root(self, root: Path) -> MediaRoot:
        if root not in self.media_roots:
            self.media_roots[root] = MediaRoot(root)
        return self.media_roots[root]


def check_media(root: MediaRoot, record: Record) -> None:
    """
    Raises:
        Rejection: an image of the record, or its video, is not there.
    """
    for path in media_of(record):
        if root.locate(path) is None:
            raise Rejection("missing_media", path)


def has_animation(root: MediaRoot, record: Record) -> bool:
    """Whether an image of the record is a GIF, WebP, APNG or AVIF of several frames, of which the first is read.

    Of a `.png` it is not looked at: nearly all images of many sets are called so, and each would be opened.
    """
    paths = () if record.is_frame_list else record.images or ()
    if not any(ANIMATED.search(path) for path in paths):
        return False
    from aurora_cli.data.media.check import has_frames

    return any(ANIMATED.search(path) and has_frames(root, path) for path in paths)


def record_name(raw: bytes, location: str) -> str:
    """The id of a record that was rejected, if it can be read."""
    try:
        return record_id(decode_json(raw), location)
    except Rejection:
        return location


def rejected_record(file: str, line: int, name: str, rejection: Rejection) -> RejectedRecord:
    """The line of `rejected.jsonl` for a record of that id (`name`)."""
    return RejectedRecord(file, line, name, rejection.reason, rejection.detail)
