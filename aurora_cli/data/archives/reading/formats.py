"""What a file is by its first bytes, whatever it is called."""

import re
from typing import Literal

Format = Literal["gzip", "bzip2", "xz", "zstd", "zip"]

HEAD_BYTES = 512
"""Enough of a file's beginning to tell."""

GZIP_MAGIC = b"\x1f\x8b"
XZ_MAGIC = b"\xfd7zXZ\0"
_BZIP2 = re.compile(rb"BZh[1-9](1AY&SY|\x17rE8P\x90)", re.DOTALL)
"""With the beginning of the first block, or the end of a file without any: `BZh9` alone could be a member's name."""
_ZSTD = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18", re.DOTALL)
"""A frame, or one to be skipped, with which pzstd begins."""
_ZIP = re.compile(rb"PK(\x03\x04|\x05\x06|\x06\x06|\x07\x08|00PK)", re.DOTALL)
"""A member; an archive without members; the mark of a split one."""


def format_of(head: bytes) -> Format | None:
    """None: it is plain, a tar if anything.

    >>> format_of(b"BZh9.jpg"), format_of(b"BZh91AY&SY...")
    (None, 'bzip2')
    """
    if head.startswith(GZIP_MAGIC):
        return "gzip"
    if head.startswith(XZ_MAGIC):
        return "xz"
    if _BZIP2.match(head):
        return "bzip2"
    if _ZSTD.match(head):
        return "zstd"
    return "zip" if _ZIP.match(head) else None


def starts_archive(head: bytes) -> bool:
    return format_of(head) is not None or head[257:262] == b"ustar"
