"""The lines of files of captions by the block: of millions, those that one model made are known by their columns."""

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np

from aurora_cli.io.atomic import disk_errors

BLOCK_BYTES = 1 << 19


def cut_torn_line(path: Path) -> None:
    """Cut off a last line that has no end: whoever wrote it was killed."""
    if not path.is_file() or (size := path.stat().st_size) == 0:
        return
    with disk_errors(path), open(path, "r+b") as file:
        end = size
        while end:
            start = max(0, end - BLOCK_BYTES)
            file.seek(start)
            if (found := file.read(end - start).rfind(b"\n")) >= 0:
                end = start + found + 1
                break
            end = start
        if end < size:
            file.truncate(end)
            os.fsync(file.fileno())


class LineBlock:
    """Whole lines, each with its end. They are split only if somebody looks at one."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        ends = np.flatnonzero(np.frombuffer(raw, np.uint8) == ord(b"\n"))
        starts = np.append(0, ends[:-1] + 1)
        text = np.frombuffer(raw, np.uint8)
        self.are_objects = bool((text[starts] == ord(b"{")).all() and (text[ends - 1] == ord(b"}")).all())
        """Whether all begin and end as an object does: none is empty, and no object goes over several."""
        self.count = len(ends)
        """Lines, of which some may be empty."""

    @cached_property
    def lines(self) -> list[bytes]:
        """Those that are not empty."""
        lines = self.raw.split(b"\n")
        return lines[:-1] if self.are_objects else [line for line in lines if line.strip()]


def line_blocks(stream: IO[bytes], start: bytes = b"") -> Iterator[LineBlock]:
    """The lines of a stream, of which `start` has been read already. A last one without an end is given one."""
    rest = start
    while block := stream.read(BLOCK_BYTES):
        whole = block.rfind(b"\n") + 1
        if whole:
            yield LineBlock(rest + block[:whole])
            rest = block[whole:]
        else:
            rest += block
    if rest.strip():
        yield LineBlock(rest + b"\n")


def stored_blocks(path: Path) -> Iterator[LineBlock]:
    """The lines of a file, if it is there."""
    if path.is_file():
        with open(path, "rb") as file:
            yield from line_blocks(file)


def hashes_in(block: LineBlock, made_by: str) -> np.ndarray | None:
    """The hashes of the keys of captions that were made so; none: some line is no plain one, and all have to be read.

    Lines that others made have none.
    """
    from aurora_cli.captioning.job import plain_keys  # pyarrow, only where there is a file

    return plain_keys.hashes_of_captions(block, made_by) if block.are_objects else None
