"""What containers say of an image's frame that libav does not pass on: turns and borders, read from a file's head.

MP4 and MOV: ISO/IEC 14496-12, `tkhd` (matrix) and `clap`. Matroska and WebM: RFC 9559, PixelCrop. Only heads are read,
a few hundred bytes; a file that is not what it seems has no turn and no border.
"""

import contextlib
import math
import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO, NamedTuple

import numpy as np


class Turn(NamedTuple):
    """What a player does to a stored frame: mirror it top to bottom, then turn it."""

    quarters: int = 0
    """Clockwise, 0 to 3."""
    mirrored: bool = False

    def of(self, image_HWC: np.ndarray) -> np.ndarray:
        return np.rot90(image_HWC[::-1] if self.mirrored else image_HWC, -self.quarters)


class Border(NamedTuple):
    """Pixels of a stored frame that a player does not show."""

    left: int = 0
    top: int = 0
    right: int = 0
    bottom: int = 0


class Framing(NamedTuple):
    """Of the first video track."""

    turn: Turn = Turn()
    border: Border = Border()


def framing_of(path: str) -> Framing:
    """From the head of an MP4, MOV, Matroska or WebM."""
    with (
        contextlib.suppress(OSError, struct.error, ValueError, ZeroDivisionError, RecursionError),
        open(path, "rb") as file,
    ):
        if file.read(4) == b"\x1a\x45\xdf\xa3":
            return Framing(border=_border_of_matroska(file))
        file.seek(0, 2)
        for kind, begin, end in _boxes(file, 0, file.tell()):
            if kind == b"moov":
                return _framing_of_movie(file, begin, end)
    return Framing()


def turn_of(matrix: tuple[int, ...]) -> Turn:
    """The nearest quarter turn of a display matrix: nine numbers, of which the first two rows' first two count.

    >>> turn_of((0, 1, 0, -1, 0, 0)), turn_of((-1, 0, 0, 0, 1, 0))
    (Turn(quarters=1, mirrored=False), Turn(quarters=2, mirrored=True))
    """
    a, b, _, c, d = matrix[:5]
    return Turn(round(math.degrees(math.atan2(b, a)) / 90) % 4, a * d - b * c < 0)


def _boxes(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, begin and end of the content of each box."""
    while begin + 8 <= end:
        file.seek(begin)
        size, kind = struct.unpack(">I4s", file.read(8))
        head = 8
        if size == 1:
            (size,) = struct.unpack(">Q", file.read(8))
            head = 16
        size = size or end - begin
        if size < head:
            return
        yield kind, begin + head, min(begin + size, end)
        begin += size


def _framing_of_movie(file: BinaryIO, begin: int, end: int) -> Framing:
    for kind, track, track_end in _boxes(file, begin, end):
        if kind != b"trak":
            continue
        inner = {kind: (begin, end) for kind, begin, end in _boxes(file, track, track_end)}
        media = {kind: (begin, end) for kind, begin, end in _boxes(file, *inner.get(b"mdia", (0, 0)))}
        if _read(file, media.get(b"hdlr"), 12)[8:] == b"vide":
            return Framing(_turn_of_track(file, inner.get(b"tkhd")), _border_of_track(file, media.get(b"minf", (0, 0))))
    return Framing()


def _turn_of_track(file: BinaryIO, header: tuple[int, int] | None) -> Turn:
    content = _read(file, header, 96)
    position = 52 if content[:1] == b"\1" else 40
    return turn_of(struct.unpack_from(">9i", content, position))


def _border_of_track(file: BinaryIO, information: tuple[int, int]) -> Border:
    """By the clean aperture of the first sample entry."""
    for table in (b"stbl", b"stsd"):
        found = {kind: (begin, end) for kind, begin, end in _boxes(file, *information)}
        if table not in found:
            return Border()
        information = found[table]
    begin, end = information
    for _, entry, entry_end in _boxes(file, begin + 8, end):  # after version, flags and the number of entries
        width, height = struct.unpack_from(">HH", _read(file, (entry, entry_end), 28), 24)
        for kind, inner, inner_end in _boxes(file, entry + 78, entry_end):
            if kind == b"clap":
                return _border_of_aperture(struct.unpack(">8i", _read(file, (inner, inner_end), 32)), width, height)
        break
    return Border()


def _border_of_aperture(numbers: tuple[int, ...], width: int, height: int) -> Border:
    """What lies around an aperture of a size, both as fractions, whose centre is off the frame's by some pixels."""
    across, down, right, below = (Fraction(*numbers[i : i + 2]) for i in range(0, 8, 2))
    left, top = (width - across) / 2 + right, (height - down) / 2 + below
    border = Border(
        *(math.floor(side + Fraction(1, 2)) for side in (left, top, width - across - left, height - down - top))
    )
    return border if min(border) >= 0 and across > 0 and down > 0 else Border()


_SEGMENT, _TRACKS, _TRACK, _TYPE, _VIDEO, _CLUSTER = 0x18538067, 0x1654AE6B, 0xAE, 0x83, 0xE0, 0x1F43B675
_CROPS = (0x54CC, 0x54BB, 0x54DD, 0x54AA)
"""Left, top, right, bottom."""


def _border_of_matroska(file: BinaryIO) -> Border:
    file.seek(0, 2)
    size = file.tell()
    for kind, begin, end in _elements(file, 0, size):
        if kind == _SEGMENT:
            return _border_of_segment(file, begin, end)
    return Border()


def _border_of_segment(file: BinaryIO, begin: int, end: int) -> Border:
    for kind, tracks, tracks_end in _elements(file, begin, end):
        if kind == _CLUSTER:
            break
        if kind != _TRACKS:
            continue
        for _, track, track_end in _elements(file, tracks, tracks_end):
            inner = {kind: (begin, end) for kind, begin, end in _elements(file, track, track_end)}
            if _number(file, inner.get(_TYPE)) == 1 and _VIDEO in inner:
                video = {kind: (begin, end) for kind, begin, end in _elements(file, *inner[_VIDEO])}
                return Border(*(_number(file, video.get(crop)) for crop in _CROPS))
    return Border()


def _elements(file: BinaryIO, begin: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Kind, begin and end of the content of each element of EBML."""
    while begin < end:
        file.seek(begin)
        head = file.read(12)
        kind_length = 9 - head[0].bit_length() if head and head[0] else 9
        if kind_length > 4 or len(head) <= kind_length or not head[kind_length]:
            return
        size_length = 9 - head[kind_length].bit_length()
        content = begin + kind_length + size_length
        size = int.from_bytes(head[kind_length : kind_length + size_length]) & ((1 << 7 * size_length) - 1)
        is_unknown = size == (1 << 7 * size_length) - 1
        after = end if is_unknown else min(content + size, end)
        yield int.from_bytes(head[:kind_length]), content, after
        begin = after


def _number(file: BinaryIO, where: tuple[int, int] | None) -> int:
    return int.from_bytes(_read(file, where, 8))


def _read(file: BinaryIO, where: tuple[int, int] | None, most: int) -> bytes:
    if where is None:
        return b""
    file.seek(where[0])
    return file.read(min(most, where[1] - where[0]))
