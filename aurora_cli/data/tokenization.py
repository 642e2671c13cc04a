"""Records to token ids: a tokenizer from a folder, and an encoder that takes records by the thousand.

Every chunk of a conversation (the words between pictures, an answer, a separator) is encoded alone, as the original
training code did.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, NamedTuple

import numpy as np
from tokenizers import AddedToken, Tokenizer

from aurora_cli.constants import IGNORE_INDEX, IMAGE_SENTINEL
from aurora_cli.data.annotation_files import RawRecord
from aurora_cli.data.conversation import TEMPLATES, Conversation, Template, Turn, written_out
from aurora_cli.data.records import Record, Rejection, decode_json, parse_record, record_id
from aurora_cli.data.sentencepiece_model import build_backend
from aurora_cli.data.word_cache import word_cache
from aurora_cli.errors import DataError, UsageError

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
)
"""What of a hub repository or a folder makes a tokenizer."""

CACHED_TOKENS = 1_000_000
"""Tokens of prompts that are remembered, about 40 MB, before all are forgotten: questions repeat, answers do not."""

Span = tuple[int, int]
"""First token, and the one behind the last."""


@dataclass(frozen=True)
class TextTokenizer:
    """A tokenizer's backend and the few facts about it that shards depend on. Needs no transformers."""

    backend: Tokenizer
    bos_token: str | None
    eos_token: str
    fingerprint: str
    """sha256 of what it was made from."""
    serialized: str
    """What a `tokenizer.json` of it holds."""

    @property
    def bos_id(self) -> int | None:
        return None if self.bos_token is None else self.backend.token_to_id(self.bos_token)

    @property
    def eos_id(self) -> int | None:
        return self.backend.token_to_id(self.eos_token)

    def encode(self, text: str) -> list[int]:
        return self.backend.encode(text, add_special_tokens=False).ids


def decode(backend: Tokenizer, ids: Iterable[int]) -> str:
    """The text with its special tokens; `<image>` for every sentinel."""
    texts, run = [], []
    for token in [*ids, IMAGE_SENTINEL]:
        if token != IMAGE_SENTINEL:
            run.append(int(token))
            continue
        texts.append(backend.decode(run, skip_special_tokens=False))
        run = []
    return "<image>".join(texts)


def load_tokenizer(folder: Path) -> TextTokenizer:
    """The tokenizer in a folder: `tokenizer.json` as it is, or one rebuilt from a bare `tokenizer.model`.

    Raises:
        DataError: there is none, or it cannot be read, or it has no end-of-text token.
    """
    source = next((folder / name for name in TOKENIZER_FILES[:2] if (folder / name).is_file()), None)
    if source is None:
        raise DataError(f"{folder}: holds no tokenizer.json and no tokenizer.model")
    try:
        config = {**read_object(folder / "special_tokens_map.json"), **read_object(folder / "tokenizer_config.json")}
        data = source.read_bytes()
        if source.suffix == ".json":
            serialized = data.decode("utf-8")
            backend = Tokenizer.from_str(serialized)
        else:
            backend = build_backend(data, config)
            add_tokens(backend, folder, config)
            serialized = backend.to_str()
    except Exception as error:  # `tokenizers` raises bare Exceptions
        raise DataError(f"{source}: is not a tokenizer that can be read: {error}") from error
    backend.no_truncation()
    backend.no_padding()
    bos = special_token(backend, config, "bos_token", ("<s>", "<|begin_of_text|>"))
    eos = special_token(backend, config, "eos_token", ("</s>", "<|end_of_text|>", "<|im_end|>", "<|endoftext|>"))
    if eos is None:
        raise DataError(f"{folder}: the tokenizer names no eos_token that is in its vocabulary")
    facts = json.dumps([bos, eos, config.get("legacy"), config.get("add_prefix_space")]).encode()
    return TextTokenizer(backend, bos, eos, hashlib.sha256(data + facts).hexdigest(), serialized)


def read_object(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def token_text(value: object) -> str | None:
    """A special token's text; configs hold it as a string or as an object."""
    text = value.get("content") if isinstance(value, dict) else value
    return text if isinstance(text, str) else None


def special_token(backend: Tokenizer, config: dict[str, Any], name: str, guesses: tuple[str, ...]) -> str | None:
    """The token that the config names; if it does not speak of it, the first guess that is in the vocabulary."""
    candidates = (token_text(config[name]),) if name in config else guesses
    return next((text for text in candidates if text and backend.token_to_id(text) is not None), None)


def add_tokens(backend: Tokenizer, folder: Path, config: dict[str, Any]) -> None:
    """Tokens that the files beside a `tokenizer.model` add to it, in the order of their ids."""
    added = {content: int(index) for content, index in read_object(folder / "added_tokens.json").items()}
    listed = config.get("added_tokens_decoder", {})
    added |= {entry["content"]: int(index) for index, entry in listed.items()}
    named = [token_text(config.get(f"{name}_token")) for name in ("bos", "eos", "unk", "pad")]
    special = {text for text in named if text} | {entry["content"] for entry in listed.values() if entry.get("special")}
    texts = [*sorted(added, key=lambda content: added[content]), *sorted(special - added.keys())]
    backend.add_tokens([AddedToken(text, normalized=False, special=text in special) for text in texts])


def get_template(name: str) -> Template:
    """The template of that name.

    Raises:
        UsageError: there is none.
    """
    if name not in TEMPLATES:
        raise UsageError(f"template: {name!r} is none of {', '.join(TEMPLATES)}")
    return TEMPLATES[name]


class EncodedRecords(NamedTuple):
    """Rows in input order, as columns; the tokens of all rows one after the other."""

    id: list[str]
    image: list[list[str] | None]
    video: list[str | None]
    media_lengths: list[list[int]]
    length: list[int]
    """Tokens of each row."""
    taught: list[int]
    """Tokens of each row that are taught."""
    input_ids: np.ndarray
    labels: np.ndarray
    """int32, both."""
    rejected: list[dict[str, Any]]
    """file, line, id, reason, detail of each record that gave no row."""


class Encoder:
    """Encodes records by one template. Keeps the tokens of prompts, because they repeat."""

    def __init__(self, tokenizer: TextTokenizer, template: str, *, max_length: int, frames: int) -> None:
        self.backend = tokenizer.backend
        self.template = get_template(template)
        self.max_length = max_length
        self.frames = frames
        self.begin = one_token(tokenizer, self.template.begin, tokenizer.bos_token, template)
        self.end = one_token(tokenizer, self.template.end, tokenizer.eos_token, template)
        self.separator = tokenizer.encode(self.template.separator)
        self.words = word_cache(tokenizer.backend)
        self.cache: dict[str, list[int]] = {}
        self.cached_tokens = 0

    def encode(self, records: Iterable[RawRecord], file: str, *, images_are_clip: bool) -> EncodedRecords:
        """Rows of the records that can be used, and the others with their reasons. `file` is where they come from."""
        usable, rejected = [], []
        name = PurePath(file).name
        for line, raw in records:
            try:
                record = parse_record(raw, f"{name}:{line}")
                usable.append((line, record, self.written_out(record, images_are_clip=images_are_clip)))
            except Rejection as rejection:
                rejected.append(rejected_line(file, line, record_name(raw, f"{name}:{line}"), rejection))
        answers = iter(self.encode_chunks([turn for *_, conversation in usable for turn in conversation.turns]))
        rows = Rows()
        for line, record, conversation in usable:
            start = len(rows.tokens)
            spans = self.append_turns(rows.tokens, conversation.turns, answers)
            if len(rows.tokens) - start > self.max_length:
                del rows.tokens[start + self.max_length :]
                spans = cut_spans(spans, len(rows.tokens))
                record, conversation = cut_media(record, conversation, rows.tokens[start:].count(IMAGE_SENTINEL))
            if spans:
                rows.append(record, conversation.media_lengths, spans, start)
            else:
                del rows.tokens[start:]
                rejection = Rejection("nothing_taught", f"max_length is {self.max_length}")
                rejected.append(rejected_line(file, line, record.id, rejection))
        rejected.sort(key=lambda entry: entry["line"])
        return rows.encoded(rejected)

    def written_out(self, record: Record, *, images_are_clip: bool) -> Conversation:
        return written_out(record, self.template, frames=self.frames, images_are_clip=images_are_clip)

    def encode_texts(self, texts: list[str]) -> list[list[int]]:
        if self.words is not None:
            return self.words.encode(texts)
        return [encoding.ids for encoding in self.backend.encode_batch_fast(texts, add_special_tokens=False)]

    def encode_chunks(self, turns: list[Turn]) -> list[list[int]]:
        """The tokens of every answer; those of every prompt chunk are in the cache afterwards."""
        if self.cached_tokens > CACHED_TOKENS:
            self.cache.clear()
            self.cached_tokens = 0
        new = [*{chunk: None for turn in turns for chunk in turn.prompt if chunk not in self.cache}]
        texts = new + [turn.answer for turn in turns]
        ids = self.encode_texts(texts)
        self.cache.update(zip(new, ids, strict=False))
        self.cached_tokens += sum(map(len, ids[: len(new)]))
        return ids[len(new) :]

    def append_turns(self, tokens: list[int], turns: list[Turn], answers: Iterator[list[int]]) -> list[Span]:
        """Append a conversation to `tokens`, and tell what of it is taught."""
        spans = []
        for index, turn in enumerate(turns):
            if index == 0 or self.template.begin_every_turn:
                tokens += self.begin
            tokens += self.cache[turn.prompt[0]]
            for chunk in turn.prompt[1:]:
                tokens.append(IMAGE_SENTINEL)
                tokens += self.cache[chunk]
            start = len(tokens)
            tokens += next(answers)
            tokens += self.end
            if len(tokens) > start:
                spans.append((start, len(tokens)))
            tokens += self.separator
        return spans


class Rows:
    """Rows as they are gathered. `tokens` holds those of the row at work, too."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.spans: list[Span] = []
        self.columns: list[tuple[str, list[str] | None, str | None, list[int], int, int]] = []

    def append(self, record: Record, media_lengths: list[int], spans: list[Span], start: int) -> None:
        taught = sum(stop - begin for begin, stop in spans)
        length = len(self.tokens) - start
        self.columns.append((record.id, record.images, record.video, media_lengths, length, taught))
        self.spans += spans

    def encoded(self, rejected: list[dict[str, Any]]) -> EncodedRecords:
        input_ids = np.array(self.tokens, dtype=np.int32)
        labels = np.full(len(self.tokens), IGNORE_INDEX, dtype=np.int32)
        for start, stop in self.spans:
            labels[start:stop] = input_ids[start:stop]
        ids, images, videos, media_lengths, lengths, taught = (
            zip(*self.columns, strict=True) if self.columns else [()] * 6
        )
        return EncodedRecords(
            list(ids),
            list(images),
            list(videos),
            list(media_lengths),
            list(lengths),
            list(taught),
            input_ids,
            labels,
            rejected,
        )


def one_token(tokenizer: TextTokenizer, wanted: str | None, default: str | None, template: str) -> list[int]:
    """The token that a template wants (none: the default) as ids: one, or none for an empty one."""
    text = default if wanted is None else wanted
    if not text:
        return []
    token = tokenizer.backend.token_to_id(text)
    if token is None:
        raise UsageError(f"template: {template} needs a tokenizer that has {text}")
    return [token]


def cut_spans(spans: list[Span], end: int) -> list[Span]:
    return [(start, min(stop, end)) for start, stop in spans if start < end]


def cut_media(record: Record, conversation: Conversation, places: int) -> tuple[Record, Conversation]:
    """Only the media whose places are left after a cut: later pictures are dropped, a clip keeps its first frames."""
    lengths = []
    for length in conversation.media_lengths:
        if taken := min(length, places - sum(lengths)):
            lengths.append(taken)
    images = record.images[: sum(lengths)] if record.images else None
    video = record.video if lengths else None
    return record._replace(images=images or None, video=video), conversation._replace(media_lengths=lengths)


def record_name(raw: bytes, place: str) -> str:
    """The id of a record that was rejected, if it can be read."""
    try:
        return record_id(decode_json(raw), place)
    except Rejection:
        return place


def rejected_line(file: str, line: int, name: str, rejection: Rejection) -> dict[str, Any]:
    return {"file": file, "line": line, "id": name, "reason": rejection.reason, "detail": rejection.detail}
