"""Where the bytes of a sparse member belong: between holes, which are not stored.

Four forms: the old GNU format, whose map stands in the header and in blocks behind it; and GNU's pax formats 0.0, 0.1
(the map in pax records) and 1.0 (before the payload; bsdtar writes this one). GNU tar manual, "Storing Sparse Files".
"""

import tarfile
from collections.abc import Callable
from typing import NamedTuple

_BLOCK = 512
_MAP_LIMIT = 16 << 20
"""Bytes of a map: some 700,000 pieces."""
_OLD_PIECES = slice(386, 482)
_OLD_GOES_ON, _OLD_SIZE = 482, slice(483, 495)
_MORE_PIECES, _MORE_GOES_ON = slice(0, 504), 504

UNREADABLE = "is stored sparse, with a map that cannot be read"


class Segment(NamedTuple):
    """Bytes of the file, stored one behind the other with those of the other segments."""

    offset: int
    size: int


class SparseMap(NamedTuple):
    size: int
    """Of the file, holes included."""
    segments: tuple[Segment, ...]


def sparse_map(size: int, numbers: list[int], stored: int) -> SparseMap | None:
    """The map of alternating offsets and sizes; none: it contradicts itself, or the bytes that are stored.

    >>> sparse_map(1000, [100, 10, 1000, 0], 10)
    SparseMap(size=1000, segments=(Segment(offset=100, size=10), Segment(offset=1000, size=0)))
    >>> sparse_map(1000, [100, 10, 105, 10], 20)
    """
    if len(numbers) % 2:
        return None
    segments = tuple(map(Segment, numbers[::2], numbers[1::2]))
    end = 0
    for segment in segments:
        if segment.offset < end or segment.size < 0:
            return None
        end = segment.offset + segment.size
    if end > size or size >= 1 << 63 or sum(segment.size for segment in segments) != stored:
        return None
    return SparseMap(size, segments)


def old_map(block: bytes, stored: int, read_block: Callable[[], bytes]) -> SparseMap | None:
    """The map of the old GNU format: four pieces in the header, others in blocks behind it, which are read."""
    fields, goes_on, size_field = [block[_OLD_PIECES]], block[_OLD_GOES_ON], block[_OLD_SIZE]
    length = 0
    while goes_on:
        more = read_block()
        length += _BLOCK
        if length <= _MAP_LIMIT:
            fields.append(more[_MORE_PIECES])
        goes_on = more[_MORE_GOES_ON]
    if length > _MAP_LIMIT or not size_field.strip(b" \0"):
        return None
    joined = b"".join(fields)
    try:
        numbers = [
            tarfile.nti(joined[at : at + 12])  # pyrefly: ignore[missing-attribute]
            for at in range(0, len(joined), 12)
            if joined[at : at + 12].strip(b" \0")
        ]
        size = tarfile.nti(size_field)  # pyrefly: ignore[missing-attribute]
    except tarfile.HeaderError:
        return None
    return sparse_map(size, numbers, stored)


def pax_map(pax: dict[str, str], stored: int, read_payload: Callable[[int], bytes]) -> SparseMap | None:
    """The map of a member with GNU's pax records. Format 1.0 has it before the payload, in whole blocks: it is read."""
    size = _number(pax.get("GNU.sparse.realsize") or pax.get("GNU.sparse.size") or "")
    if size is None:
        return None
    if pax.get("GNU.sparse.major") == "1":
        numbers, length = _map_before_payload(stored, read_payload)
        return None if numbers is None else sparse_map(size, numbers, stored - length)
    numbers = [_number(text) for text in pax.get("GNU.sparse.map", "").split(",")]
    known = [number for number in numbers if number is not None]
    return sparse_map(size, known, stored) if len(known) == len(numbers) else None


def _map_before_payload(stored: int, read_payload: Callable[[int], bytes]) -> tuple[list[int] | None, int]:
    """A number a line: how many pieces, then their offsets and sizes. With the bytes that it takes."""
    content, wanted = b"", 1
    while content.count(b"\n") < wanted:
        if len(content) + _BLOCK > min(-(-stored // _BLOCK) * _BLOCK, _MAP_LIMIT):
            return None, len(content)
        content += read_payload(_BLOCK)
        if wanted == 1 and b"\n" in content:
            pieces = _number(content.partition(b"\n")[0].decode("latin-1"))
            if pieces is None or pieces > _MAP_LIMIT:
                return None, len(content)
            wanted = 1 + 2 * pieces
    lines = content.split(b"\n")[1:wanted]
    numbers = [_number(line.decode("latin-1")) for line in lines]
    known = [number for number in numbers if number is not None]
    return (known if len(known) == len(numbers) else None), len(content)


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None
