"""The bytes of a tar from an archive's files, decompressed where they are compressed, some chunks ahead of the reader.

ISA-L inflates gzip at twice zlib's speed; all of them work outside the interpreter's lock. Broken data ends the stream
with a word why instead of an exception, so that what came before is used first.
"""

import bz2
import lzma
from collections.abc import Callable, Generator, Iterator
from typing import NamedTuple, Protocol

from isal import igzip_lib

from aurora_cli.data.archives.finding.parts import Archive
from aurora_cli.data.archives.reading.chunks import CHUNK_BYTES, READ_BYTES, Broken, Chunk, Damaged, Guard
from aurora_cli.data.archives.reading.formats import GZIP_MAGIC, HEAD_BYTES, XZ_MAGIC, format_of
from aurora_cli.data.archives.reading.part_stream import PartStream
from aurora_cli.data.archives.reading.zip_to_tar import zip_to_tar
from aurora_cli.io.prefetch import taken_ahead

_CHUNKS_AHEAD = 64
_XZ_MEMORY = 1 << 30
"""Bytes that an xz stream may ask for to be decompressed; the largest preset takes 65 MB."""
_ZSTD_STEP = 64 << 10
_ZSTD_FINE_STEP = 512


class _Decompressor(Protocol):
    """What zlib's successors share."""

    def decompress(self, data: bytes, max_length: int = -1, /) -> bytes: ...

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...


class _Compression(NamedTuple):
    name: str
    magic: bytes
    """How a further stream begins, behind the first."""
    open: Callable[[], _Decompressor]


_COMPRESSIONS = {
    "gzip": _Compression("gzip", GZIP_MAGIC, lambda: igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)),
    "bzip2": _Compression("bzip2", b"BZh", bz2.BZ2Decompressor),
    "xz": _Compression("xz", XZ_MAGIC, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)),
}
_ERRORS = (igzip_lib.IsalError, OSError, lzma.LZMAError, EOFError)


def chunks_ahead(archive: Archive, max_inflation: float) -> Generator[Chunk | Broken | Damaged, None, None]:
    """The uncompressed tar, read in a thread; how it is compressed is told by its first bytes, not by its name."""
    return taken_ahead(lambda: _chunks(archive, max_inflation), _CHUNKS_AHEAD)


def _chunks(archive: Archive, max_inflation: float) -> Generator[Chunk | Broken | Damaged, None, None]:
    with PartStream(archive.files) as raw:
        guard, head = Guard(max_inflation, raw.tell), raw.read_whole(HEAD_BYTES)
        raw.seek(0)
        form = format_of(head)
        match form:
            case "gzip" | "bzip2" | "xz":
                yield from _inflated(raw, _COMPRESSIONS[form], guard)
            case "zstd":
                yield from _unpacked_zstd(raw, guard)
            case "zip":
                yield from zip_to_tar(archive.files, max_inflation)
            case None:
                while content := raw.read(READ_BYTES):
                    yield Chunk(content, raw.tell())


def _inflated(raw: PartStream, compression: _Compression, guard: Guard) -> Iterator[Chunk | Broken]:
    """Streams one behind the other; zeros may follow the last, as tapes and block devices leave them."""
    name, magic, decompressor, rest = compression.name, compression.magic, compression.open(), b""
    begun = False
    while True:
        if not rest:
            rest = raw.read(READ_BYTES)
        if decompressor.eof:
            rest = rest.lstrip(b"\0") if not rest.startswith(magic) else rest
            if not rest and raw.tell() == raw.size:
                return
            if not rest:
                continue
            if not magic.startswith(rest[: len(magic)]):
                yield Broken(f"bytes that are not {name} follow (before byte {raw.tell():,} of the archive)")
                return
            decompressor = compression.open()
        elif not rest and begun:
            yield Broken(f"the archive is truncated: its {name} stream ends (byte {raw.tell():,} of the archive)")
            return
        begun = True
        try:
            content = decompressor.decompress(rest, CHUNK_BYTES)
            rest = b""
            while content:
                yield Chunk(content, raw.tell())
                if (bomb := guard.bomb(len(content))) is not None:
                    yield bomb
                    return
                content = (
                    b"" if decompressor.needs_input or decompressor.eof else decompressor.decompress(b"", CHUNK_BYTES)
                )
        except _ERRORS as error:  # pyrefly: ignore[not-a-type] - isal's stub says instance
            yield Broken(f"corrupt {name} data ({error}; before byte {raw.tell():,} of the archive)")
            return
        if decompressor.eof:
            rest = decompressor.unused_data


def _unpacked_zstd(raw: PartStream, guard: Guard) -> Iterator[Chunk | Broken]:
    """By Arrow, which the token store needs anyway; Python has a decompressor of its own from 3.14 on.

    A call that meets broken data loses what it had before it: it is read again up to there, and on in small steps.
    """
    import pyarrow

    produced, error = 0, None
    for step in (_ZSTD_STEP, _ZSTD_FINE_STEP):
        raw.seek(0)
        behind = -produced  # what is read until this is 0 has been handed on
        try:
            stream = pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, mode="r"), "zstd")
            while content := stream.read(min(_ZSTD_STEP, -behind) if behind < 0 else step):
                behind += len(content)
                if behind <= 0:
                    continue
                produced += len(content)
                yield Chunk(content, raw.tell())
                if (bomb := guard.bomb(len(content))) is not None:
                    yield bomb
                    return
        except (OSError, ValueError) as failure:
            if isinstance(failure, OSError) and failure.errno is not None:  # of the disk, not of the data
                raise
            error = failure
        else:
            return
    what = (
        "the archive is truncated: its zstd stream ends"
        if "Truncated" in str(error)
        else f"corrupt zstd data ({error})"
    )
    yield Broken(f"{what} (before byte {raw.tell():,} of the archive)")
