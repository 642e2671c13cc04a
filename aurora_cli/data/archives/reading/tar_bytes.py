"""The bytes of an archive as a tar, one way, in pieces that are never copied."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self

from aurora_cli.data.archives.finding.parts import Archive
from aurora_cli.data.archives.reading.chunks import Broken, Damaged, DamagedMember
from aurora_cli.data.archives.reading.inflate import chunks_ahead
from aurora_cli.data.archives.reading.sparse import SparseMap
from aurora_cli.errors import DataError

Advance = Callable[[int, int], None]
"""Called with the bytes of the archive, and the members of it, that were read since the last call."""


class BadArchive(DataError):
    """An archive that ends too early or holds what is no tar: which, where, in or behind which member."""

    def __init__(self, archive: Path, reason: str, offset: int, member: str | None = None, of: str = "the tar") -> None:
        self.archive, self.reason, self.offset, self.member = archive, reason, offset, member
        within = f", {member}" if member else ""
        super().__init__(f"{archive}: {reason} at byte {offset:,} of {of}{within}")


class TarBytes:
    """A place in the uncompressed tar of `archive`; use as a context, so that the reading thread ends.

    `tee` is given the bytes as they arrive.
    """

    def __init__(
        self,
        archive: Archive,
        *,
        max_inflation: float,
        advance: Advance,
        tee: Callable[[memoryview], None] | None = None,
    ) -> None:
        self.archive = archive
        self.position = 0
        self.chunk = memoryview(b"")
        """What has arrived and is not read yet."""
        self.damage: str | None = None
        """Why the member that is under way, or comes next, cannot be had."""
        self.where: str | None = None
        """In or behind which member this is, for messages."""
        self.begun = 0
        """Members since the last call of `advance`, the argument."""
        self._tee = tee
        self._advance_by, self._consumed = advance, 0
        self._chunks = chunks_ahead(archive, max_inflation)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._chunks.close()

    def bad(self, reason: str, offset: int | None = None) -> BadArchive:
        return BadArchive(self.archive.path, reason, self.position if offset is None else offset, self.where)

    def pieces(self, size: int) -> Iterator[memoryview]:
        """The next `size` bytes, uncopied, in pieces.

        Raises:
            DamagedMember: they are not those of the member; the members behind it can be read
        """
        while size > 0:
            if not self.chunk:
                if not self.advance():
                    raise self.bad("the archive is truncated: it ends")
                if self.damage is not None:
                    reason, self.damage = self.damage, None
                    raise DamagedMember(reason)
            piece = self.chunk[:size]
            self.chunk = self.chunk[len(piece) :]
            self.position += len(piece)
            size -= len(piece)
            yield piece

    def segments(self, sparse: SparseMap) -> Iterator[tuple[int, memoryview]]:
        """The payload of a sparse member, each piece with its offset in the file."""
        for offset, size in sparse.segments:
            for piece in self.pieces(size):
                yield offset, piece
                offset += len(piece)

    def skip(self, size: int) -> None:
        """Pass over the next `size` bytes, damaged or not."""
        end = self.position + size
        while self.position < end:
            try:
                for _ in self.pieces(end - self.position):
                    pass
            except DamagedMember:  # nobody wants it
                continue

    def read(self, size: int) -> bytes:
        """The next `size` bytes in one piece: for headers."""
        if len(self.chunk) >= size:
            piece = bytes(self.chunk[:size])
            self.chunk = self.chunk[size:]
            self.position += size
            return piece
        return b"".join(self.pieces(size))

    def advance(self) -> bool:
        """Take the next chunk; false: there is none.

        Raises:
            BadArchive: what comes is broken
        """
        following = next(self._chunks, None)
        while isinstance(following, Damaged):
            self.damage = following.reason
            following = next(self._chunks, None)
        if isinstance(following, Broken):
            if following.offset is None:
                raise self.bad(following.reason)
            raise BadArchive(self.archive.path, following.reason, following.offset, of="the zip")
        if following is None:
            return False
        self.chunk = memoryview(following.content)
        if self._tee is not None:
            self._tee(self.chunk)
        self._advance_by(following.consumed - self._consumed, self.begun)
        self._consumed, self.begun = following.consumed, 0
        return True
