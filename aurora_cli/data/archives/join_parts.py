"""Parts into the archive that they were cut from, in constant memory.

The kernel copies (copy_file_range), which on filesystems with shared extents copies nothing at all; the disk begins at
once with what has been copied. After a crash the bytes that are already right stay: they are compared with the parts,
not trusted.
"""

import errno
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from aurora_cli.console import Advance
from aurora_cli.data.archives.finding.parts import Archive
from aurora_cli.data.archives.reading.part_stream import PartStream
from aurora_cli.errors import DataError
from aurora_cli.io.atomic import PARTIAL_SUFFIX, disk_errors, fsync_folder
from aurora_cli.io.durability import start_writing
from aurora_cli.io.locks import file_lock

_COPY_BYTES = 8 << 20
_COMPARE_BYTES = 1 << 20
_NOT_HERE = (errno.ENOSYS, errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM)
"""copy_file_range says so between some filesystems; plain reading and writing does it there."""


def join_parts(parts: Archive, advance: Advance, *, sync: bool = True) -> None:
    """Write the archive that `parts` are cut from; it appears when it is whole, with `sync` on the disk itself."""
    partial = parts.path.with_name(f".{parts.path.name}{PARTIAL_SUFFIX}")
    with disk_errors(parts.path), file_lock(parts.path.parent, "aurora merge-tars"):
        with open(partial, "r+b" if partial.exists() else "w+b", buffering=0) as out:
            position = _right_so_far(parts, out.fileno(), advance)
            if os.fstat(out.fileno()).st_size > position:  # only then: ext4 writes at once what was truncated to 0
                out.truncate(position)
            _append(parts, out.fileno(), position, advance, sync=sync)
            if sync:
                os.fsync(out.fileno())
        partial.replace(parts.path)
        if sync:
            fsync_folder(parts.path.parent)


def _right_so_far(parts: Archive, out: int, advance: Advance) -> int:
    """How many bytes at the start of what an earlier run wrote are those of the parts."""
    position, size = 0, os.fstat(out).st_size
    with PartStream(parts.files) as stream:
        while position < size:
            written = os.pread(out, _COMPARE_BYTES, position)
            expected = stream.read_whole(len(written))
            if written != expected:
                same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(written, expected, strict=False))
                return position + sum(1 for _ in same)
            position += len(written)
            advance(len(written))
    return position


def _append(parts: Archive, out: int, position: int, advance: Advance, *, sync: bool) -> None:
    begin = 0
    for file in parts.files:
        size = file.stat().st_size
        if position < begin + size:
            offset = max(position - begin, 0)
            with open(file, "rb", buffering=0) as part:
                position = os.lseek(out, begin + offset, os.SEEK_SET)
                for count in _copy(file, part.fileno(), out, offset, size):
                    if sync:
                        start_writing(out, position, count)
                    position += count
                    advance(count)
        begin += size


def _copy(file: Path, part: int, out: int, offset: int, size: int) -> Iterator[int]:
    """Copy a part from `offset` on; yields the bytes of each piece."""
    os.lseek(part, offset, os.SEEK_SET)
    copy: Callable[[int, int, int], int] = _copy_in_kernel
    while offset < size:
        try:
            count = copy(part, out, min(_COPY_BYTES, size - offset))
        except OSError as error:
            if copy is _copy_plainly or error.errno not in _NOT_HERE:
                raise
            copy = _copy_plainly
            continue
        if count == 0:
            raise DataError(f"{file}: became shorter while it was read (byte {offset:,} of {size:,})")
        offset += count
        yield count


def _copy_in_kernel(part: int, out: int, count: int) -> int:
    return os.copy_file_range(part, out, count)


def _copy_plainly(part: int, out: int, count: int) -> int:
    content = memoryview(os.read(part, min(count, _COMPARE_BYTES)))
    written = 0
    while written < len(content):
        written += os.write(out, content[written:])
    return written
