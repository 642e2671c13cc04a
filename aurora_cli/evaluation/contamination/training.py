"""Training data as a stream of records: tokenized folders, annotation files, and what `aurora import` reads."""

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from tokenizers import Tokenizer

from aurora_cli.config.workspace import VALIDATION, Workspace, media_root_of
from aurora_cli.console import unheard
from aurora_cli.constants import IMAGE_PLACEHOLDER
from aurora_cli.data.annotations.files import is_annotation_file, raw_records
from aurora_cli.data.annotations.records import Message, Rejection, media_of
from aurora_cli.data.annotations.schemas import parse_record
from aurora_cli.data.importing.format import Options
from aurora_cli.data.importing.item import Refused
from aurora_cli.data.importing.registry import recognised
from aurora_cli.data.token_store.folder import MERGED, TOKENIZER, tokenized_below
from aurora_cli.data.token_store.labels import answer_spans
from aurora_cli.data.token_store.schema import MANIFEST
from aurora_cli.data.token_store.store import Row, TokenStore, open_store
from aurora_cli.errors import DataError, UsageError

_DECODED = 1000
"""Rows whose answers are decoded at a time."""


class TrainingRecord(NamedTuple):
    """A record that a model was trained on."""

    where: str
    """File or folder, and the record in it."""
    root: Path
    """What its media are named from."""
    media: Sequence[str]
    texts: Sequence[str]
    """Its answers."""


class Unread(NamedTuple):
    """A record that cannot be read."""

    where: str


def training_records(path: Path, workspace: Workspace) -> Iterator[TrainingRecord | Unread]:
    """The records below a folder of tokenized ones, or in a file of annotations or captions.

    Raises:
        DataError: there is nothing of the kind.
        UsageError: the file looks like none of the forms that are read.
    """
    if not path.exists():
        raise DataError(f"{path}: is not there")
    if path.is_dir() and (stores := _stores(path)):
        for store, tokenizer in stores:
            yield from _of_store(open_store(store), Tokenizer.from_file(str(tokenizer)), workspace)
    elif path.is_file() and is_annotation_file(path):
        yield from _of_annotations(path, workspace)
    else:
        yield from _of_captions(path, workspace)


def _stores(folder: Path) -> list[tuple[Path, Path]]:
    """The token stores in or below a folder, each with its tokenizer; what is kept for validation only if it is named.

    Raises:
        DataError: the folder holds shards, and no tokenizer.
    """
    if (folder / MANIFEST).is_file():
        found = [folder]
    else:
        of_validation = VALIDATION in folder.parts
        found = []
        for tokenized in tokenized_below(folder):
            if VALIDATION in tokenized.parts and not of_validation:
                continue
            merged = tokenized / MERGED
            found += [merged] if (merged / MANIFEST).is_file() else sorted((tokenized / "shards").glob("part-*"))
    return [(store, _tokenizer_of(store)) for store in found]


def _tokenizer_of(store: Path) -> Path:
    for folder in (store, store.parent, store.parent.parent):
        if (folder / TOKENIZER).is_file():
            return folder / TOKENIZER
    raise DataError(f"{store}: has no {TOKENIZER} to read its captions with", hint="aurora merge-shards")


def _of_store(store: TokenStore, tokenizer: Tokenizer, workspace: Workspace) -> Iterator[TrainingRecord]:
    rows = _rows(store)
    while some := [*islice(rows, _DECODED)]:
        answers = [_answers(row) for _, row in some]
        texts = iter(tokenizer.decode_batch([ids for each in answers for ids in each], skip_special_tokens=True))
        for (number, row), each in zip(some, answers, strict=True):
            media = [*(row.image or ()), *([row.video] if row.video else ())]
            root = workspace.path(store.media_root(number))
            yield TrainingRecord(f"{store.folder}: {row.id}", root, media, [next(texts) for _ in each])


def _rows(store: TokenStore) -> Iterator[tuple[int, Row]]:
    for index, batch in enumerate(store.batches):
        rows = store.batch(index)
        yield from ((int(store.starts[index]) + at, rows.row(at)) for at in range(batch.num_rows))
        store.opened.pop(index)


def _answers(row: Row) -> list[list[int]]:
    return [
        [token for token in row.input_ids[first:end].tolist() if token != IMAGE_PLACEHOLDER]
        for first, end in answer_spans(row.labels)
    ]


def _of_annotations(path: Path, workspace: Workspace) -> Iterator[TrainingRecord | Unread]:
    root = media_root_of(path)
    for raw in raw_records(path):
        where = f"{workspace.relative(path)}:{raw.line}"
        try:
            record = parse_record(raw.raw, where)
        except Rejection:
            yield Unread(where)
            continue
        yield TrainingRecord(where, root, media_of(record), _targets(record.messages))


def _of_captions(path: Path, workspace: Workspace) -> Iterator[TrainingRecord | Unread]:
    source, found = recognised(path)
    opened = found.open(source, Options())
    if opened.archives or opened.holds_media:
        raise UsageError(
            f"{path}: holds its media in itself; take it in first, then check against its records",
            hint=f"aurora import {path}",
        )
    for row in opened.rows(unheard):
        where = f"{workspace.relative(source)}:{row.line}"
        if isinstance(row, Refused):
            yield Unread(where)
        else:
            texts = [row.caption] if row.messages is None else _targets(row.messages)
            yield TrainingRecord(where, opened.root, row.media, texts)


def _targets(messages: list[Message]) -> list[str]:
    return [message.text for message in messages if message.role == "gpt" and message.is_target]
