"""What several tests of `data` make for themselves: images and videos."""

import io
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from aurora_cli.data.token_store.columns import EncodedRecords
from aurora_cli.data.token_store.schema import MANIFEST
from aurora_cli.data.token_store.store import Row
from aurora_cli.data.token_store.writer import ShardWriter, row_batch, summary_batch
from tests.tokenizing import shard_manifest

WriteClip = Callable[[Path, Sequence[Image.Image]], None]
WriteStore = Callable[[Path, Sequence[Row], str], None]


@pytest.fixture
def write_store() -> WriteStore:
    """Writes rows as a token store, whose media lie below a folder named from the workspace."""
    return write_token_store


def write_token_store(folder: Path, rows: Sequence[Row], media_root: str = "media") -> None:
    folder.mkdir(parents=True)
    encoded = EncodedRecords(
        id=[row.id for row in rows],
        image=[row.image for row in rows],
        video=[row.video for row in rows],
        media_lengths=[row.media_lengths for row in rows],
        length=[len(row.input_ids) for row in rows],
        target_tokens=[int((np.asarray(row.labels) != -100).sum()) for row in rows],
        input_ids=np.concatenate([row.input_ids for row in rows]).astype(np.int32),
        labels=np.concatenate([row.labels for row in rows]).astype(np.int32),
        rejected=[],
        span=[row.span for row in rows] if any(row.span for row in rows) else None,
    )
    with ShardWriter(folder) as shard:
        shard.append(row_batch(encoded), summary_batch(encoded))
    shard_manifest(len(rows), media_root).write(folder / MANIFEST)


@pytest.fixture
def write_video() -> WriteClip:
    """Writes frames as an AVI of JPEGs: the one video format that needs no encoder but Pillow."""
    return write_motion_jpeg


def write_motion_jpeg(path: Path, frames: Sequence[Image.Image], fps: int = 10) -> None:
    width, height = frames[0].size
    jpegs = [_jpeg(frame) for frame in frames]
    largest = max(map(len, jpegs))
    main_header = struct.pack("<14I", 1_000_000 // fps, 0, 0, 0x10, len(jpegs), 0, 1, largest, width, height, *[0] * 4)
    stream = b"vidsMJPG" + struct.pack(
        "<IHHIIIIIIII4H", 0, 0, 0, 0, 1, fps, 0, len(jpegs), largest, 0xFFFFFFFF, 0, 0, 0, width, height
    )
    bitmap = struct.pack("<IiiHH4sIiiII", 40, width, height, 1, 24, b"MJPG", width * height * 3, 0, 0, 0, 0)
    streams = _list(b"strl", _chunk(b"strh", stream) + _chunk(b"strf", bitmap))
    movie, index = b"", b""
    for jpeg in jpegs:
        index += struct.pack("<4sIII", b"00dc", 0x10, len(movie) + 4, len(jpeg))
        movie += _chunk(b"00dc", jpeg)
    header = _list(b"hdrl", _chunk(b"avih", main_header) + streams)
    path.write_bytes(_chunk(b"RIFF", b"AVI " + header + _list(b"movi", movie) + _chunk(b"idx1", index)))


def _jpeg(frame: Image.Image) -> bytes:
    buffer = io.BytesIO()
    frame.save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def _chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def _list(kind: bytes, content: bytes) -> bytes:
    return _chunk(b"LIST", kind + content)
