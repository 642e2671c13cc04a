"""A `tokenizer.model` (sentencepiece) as a backend of `tokenizers`, with the ids that the original's stack gave.

transformers 5 builds another backend from such a file than 4.42 did, with which the released weights were trained:
other ids for texts with leading, trailing or doubled spaces. So the backend is built here: no pre-tokenizer, a `▁` in
front of every segment of text between special tokens, merges in the order of the pieces' scores (not of their ids).
"""

import struct
from collections.abc import Iterator
from typing import Any, NamedTuple

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

from aurora_cli.io.json_files import JsonObject

NORMAL, UNKNOWN, CONTROL, USER_DEFINED = 1, 2, 3, 4
FIXED_SIZES = {1: 8, 5: 4}
"""Bytes of a field's value, by its wire type."""

BPE = 2
"""`TrainerSpec.model_type`."""


class Piece(NamedTuple):
    """An entry of the vocabulary."""

    text: str
    score: float
    kind: int


def build_backend(model: bytes, config: JsonObject) -> Tokenizer:
    """The backend for a serialized sentencepiece BPE model. `config` is its `tokenizer_config.json`.

    Raises:
        ValueError: it is not a BPE model.
    """
    pieces, model_type = parse_model(model)
    if model_type != BPE or not pieces:
        raise ValueError("it is not a sentencepiece model of the kind BPE")
    ids = {piece.text: index for index, piece in enumerate(pieces)}
    unknown = next((piece.text for piece in pieces if piece.kind == UNKNOWN), None)
    backend = Tokenizer(models.BPE(ids, merges(pieces, ids), unk_token=unknown, fuse_unk=True, byte_fallback=True))
    prefix = config.get("add_prefix_space") is not False
    if config.get("legacy") is False:
        # Only the very beginning of a text gets the `▁`, not what follows a special token.
        scheme = "first" if prefix else "never"
        backend.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme=scheme, split=False)
    else:
        spaces = [normalizers.Replace(" ", "▁")]
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), *spaces] if prefix else spaces)
    strip = [decoders.Strip(content=" ", left=1)] if prefix else []
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip])
    backend.add_tokens(
        [
            AddedToken(piece.text, normalized=False, special=piece.kind != USER_DEFINED)
            for piece in pieces
            if piece.kind in (UNKNOWN, CONTROL, USER_DEFINED)
        ]
    )
    return backend


def merges(pieces: list[Piece], ids: dict[str, int]) -> list[tuple[str, str]]:
    """Every way to make a piece of two others, the best score first; of one piece's ways, by the ids of the parts."""
    ways = []
    for piece in pieces:
        text = piece.text
        known = [(text[:cut], text[cut:]) for cut in range(1, len(text)) if text[:cut] in ids and text[cut:] in ids]
        known.sort(key=lambda way: (ids[way[0]], ids[way[1]]))
        score = 0.0 if piece.kind in (UNKNOWN, CONTROL) else piece.score
        ways += [(score, way) for way in known]
    ways.sort(key=lambda scored: -scored[0])
    return [way for _, way in ways]


def parse_model(model: bytes) -> tuple[list[Piece], int]:
    """The pieces and the model type of a serialized `ModelProto` (protobuf; sentencepiece_model.proto)."""
    pieces = []
    model_type = 1
    for number, value in fields(model):
        if number == 1 and isinstance(value, bytes):
            piece = dict(fields(value))
            score = struct.unpack("<f", piece.get(2, bytes(4)))[0]
            pieces.append(Piece(piece.get(1, b"").decode("utf-8"), score, piece.get(3, NORMAL)))
        elif number == 2 and isinstance(value, bytes):
            model_type = dict(fields(value)).get(3, 1)
    return pieces, model_type


def fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of every field: int for varints, bytes for the rest.

    Raises:
        ValueError: it is not a protobuf message.
    """
    at, end = 0, len(message)
    while at < end:
        key, at = varint(message, at)
        kind = key & 7
        if kind == 0:
            value, at = varint(message, at)
            yield key >> 3, value
            continue
        if kind == 2:
            size, at = varint(message, at)
        elif kind in FIXED_SIZES:
            size = FIXED_SIZES[kind]
        else:
            raise ValueError("it is not a sentencepiece model")
        if at + size > end:
            raise ValueError("it ends too early")
        yield key >> 3, message[at : at + size]
        at += size


def varint(message: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, and where the next field begins.

    Raises:
        ValueError: the message ends in it.
    """
    if at < len(message) and message[at] < 128:
        return message[at], at + 1
    value = shift = 0
    while at < len(message):
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise ValueError("it ends too early")
