"""The lines of files of captions by the block: of millions, those that one model made are known by their columns."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from aurora_cli.io.atomic import disk_errors

BLOCK_BYTES = 1 << 20


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


def lines_in_blocks(path: Path) -> Iterator[list[bytes]]:
    """The whole lines of a file, without those that are empty."""
    if not path.is_file():
        return
    with open(path, "rb") as file:
        rest = b""
        while block := file.read(BLOCK_BYTES):
            *lines, rest = (rest + block).split(b"\n")
            if b"" in lines or any(map(bytes.isspace, lines)):
                lines = [line for line in lines if line.strip()]
            if lines:
                yield lines


def hashes_in(lines: Sequence[bytes], made_by: str) -> np.ndarray | None:
    """The hashes of the keys of captions that were made so; none: some line is no plain one, and all have to be read.

    Lines that others made have none.
    """
    from aurora_cli.captioning.job import plain_keys  # pyarrow, only where there is a file

    return plain_keys.hashes_of_captions(lines, made_by)
